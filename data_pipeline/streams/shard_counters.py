"""Processes that count the examples of a corpus, a stretch of its shards each.

They take no orders once they have begun, and end when the process that began them has ended, however it did.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection

SHARDS_AT_ONCE = 16
CountShards = Callable[[int, int, int], list[int]]
"""Takes the first shard, one past the last and the cut of the corpus (variant); returns the examples of each shard."""


class ShardCounters:
    """Processes that count the same cuts of the corpus one after another.

    Args:
        count: Counts a range of shards; called in the processes.
        num_shards: Shards of the corpus, at least one.
        variants: Cuts of the corpus, in the order in which they are needed.
        num_processes: Processes at most; none gets fewer than `SHARDS_AT_ONCE` shards but the last.
        niceness: By how much the processes give way to others.
    """

    def __init__(
        self, count: CountShards, num_shards: int, variants: Sequence[int], num_processes: int, niceness: int = 0
    ) -> None:
        stretch = SHARDS_AT_ONCE * -(-num_shards // (SHARDS_AT_ONCE * num_processes))
        ends = [*range(0, num_shards, stretch), num_shards]
        self._receivers: list[Connection] = []
        for begin, end in pairwise(ends):
            receiver, sender = multiprocessing.Pipe(duplex=False)
            arguments = (sender, count, (begin, end), list(variants), niceness)
            multiprocessing.Process(target=_count_stretch, args=arguments, daemon=True).start()
            sender.close()
            self._receivers.append(receiver)

    def next_counts(self) -> list[int]:
        """Wait for the next cut of the corpus and return the examples of each shard.

        Raises:
            ValueError: if a shard cannot be read; the message is that of the process.
            EOFError: if a process was killed.
        """
        counts: list[int] = []
        for receiver in self._receivers:
            answer = receiver.recv()
            if isinstance(answer, str):
                raise ValueError(answer)
            counts += answer
        return counts


def _count_stretch(
    sender: Connection,
    count: CountShards,
    stretch: tuple[int, int],
    variants: Sequence[int],
    niceness: int,
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked process inherits the handlers of a trainer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    begin, end = stretch
    parent = multiprocessing.parent_process()
    with contextlib.suppress(BrokenPipeError):
        for variant in variants:
            counts: list[int] = []
            for first in range(begin, end, SHARDS_AT_ONCE):
                if parent is None or not parent.is_alive():
                    return
                try:
                    counts += count(first, min(first + SHARDS_AT_ONCE, end), variant)
                except ValueError as error:
                    sender.send(str(error))
                    return
            sender.send(counts)
