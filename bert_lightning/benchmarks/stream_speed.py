"""The speed of the stream, the time to its first batch, and its memory."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from data_pipeline.masking.masking import Masking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import PretrainingStream

ENDLESS = 10**9
CHECKPOINTS = 8
LOADED_AHEAD = 4
T = TypeVar("T")
Measure = Callable[[], tuple[float, float]]
"""Measures once: real tokens per second, and filler as a share of the tokens computed."""


@dataclass(frozen=True, slots=True)
class SampleSource:
    """The settings of the stream, without those that the benchmark goes through; a whole can be sent to a process.

    Attributes:
        folder: Opens the prepared folder.
        pairs: How documents become examples.
        seed: Seed of the stream.
        num_lanes: Streams of shards read side by side.
        window_shards: Shards of a lane in memory at a time.
        exclude_shards: Shards to leave out.
    """

    folder: Callable[[], PreparedFolder]
    pairs: PairFormat
    seed: int
    num_lanes: int = 16
    window_shards: int = 16
    exclude_shards: Sequence[str] = ()

    def samples(self, seq_len: int, masking: Masking) -> PretrainingSamples:
        """Open the training split anew."""
        return PretrainingSamples(
            self.folder(),
            "train",
            self.pairs,
            masking,
            seq_len,
            self.seed,
            self.num_lanes,
            self.window_shards,
            exclude_shards=self.exclude_shards,
        )


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one rank in each step."""

    global_batch_size: int
    micro_batch_size: int

    def stream(self, samples: PretrainingSamples, num_workers: int = 0) -> PretrainingStream:
        """Return the stream of a single rank."""
        return PretrainingStream(
            samples, self.global_batch_size, self.micro_batch_size, ENDLESS, num_workers=num_workers
        )


def stream_speed(samples: PretrainingSamples, share: Share, num_workers: int, seconds: float) -> Measure:
    """Return a measurement of our packed batches."""

    def measure() -> tuple[float, float]:
        return speed(iter(share.stream(samples, num_workers)), _packed_sizes, num_workers, seconds)

    return measure


def speed(
    batches: Iterator[T], sizes: Callable[[T], tuple[int, int]], num_workers: int, seconds: float
) -> tuple[float, float]:
    """Return real tokens per second and the share of filler, given what is real and what is computed of a batch."""
    for _ in islice(batches, 2 + 2 * LOADED_AHEAD * num_workers):  # what the processes made before the clock starts
        pass
    real, computed, elapsed = _count(batches, sizes, seconds)
    return real / elapsed, 1 - real / computed


def _packed_sizes(step: list[PackedBatch]) -> tuple[int, int]:
    return sum(batch.num_tokens for batch in step), sum(len(batch.tokens.input_ids) for batch in step)


def _count(batches: Iterator[T], sizes: Callable[[T], tuple[int, int]], seconds: float) -> tuple[int, int, float]:
    """Return real tokens, computed tokens and the time they took."""
    real = computed = 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds or not computed:
        real_tokens, computed_tokens = sizes(next(batches))
        real += real_tokens
        computed += computed_tokens
    return real, computed, elapsed


def first_batch_seconds(open_samples: Callable[[], PretrainingSamples], share: Share, position: float) -> float:
    """Return how long it takes from opening a prepared folder to the first batch at a share of the first epoch."""
    begin = time.perf_counter()
    samples = open_samples()
    stream = share.stream(samples)
    step = int(position * samples.epoch_plan(0).size) // share.global_batch_size
    stream.consumed_samples = step * share.global_batch_size
    next(iter(stream))
    return time.perf_counter() - begin


def resident_growth(
    open_samples: Callable[[], PretrainingSamples], share: Share, seconds: float
) -> list[tuple[str, float | None, int]]:
    """Return, for successive shares of the time, the resident megabytes of a fresh process and the examples it read."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_memory, args=(sender, open_samples, share, seconds))
    process.start()
    sender.close()
    try:
        return [receiver.recv() for _ in range(CHECKPOINTS)]
    except EOFError:
        raise ChildProcessError(
            "the process that reads has ended early; the kernel kills it if memory is short"
        ) from None
    finally:
        process.join()


def _report_memory(
    sender: "multiprocessing.connection.Connection",
    open_samples: Callable[[], PretrainingSamples],
    share: Share,
    seconds: float,
) -> None:
    stream = share.stream(open_samples())
    steps = iter(stream)
    for checkpoint in range(1, CHECKPOINTS + 1):
        _count(steps, _packed_sizes, seconds / CHECKPOINTS)
        sender.send((f"{checkpoint / CHECKPOINTS:.0%}", _resident_megabytes(), stream.consumed_samples))


def _resident_megabytes() -> float | None:
    """Return this process's resident memory as Linux gives it."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kilobytes[0] / 1000 if kilobytes else None
