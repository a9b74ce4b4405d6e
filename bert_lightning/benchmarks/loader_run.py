"""Our step with the loader running beside it: the speed of a run, and its waits for data."""

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from bert_lightning.benchmarks.contestants import Contestant
from bert_lightning.benchmarks.findings import FigureTable
from data_pipeline.streams.packed_batch import PackedBatch

WARM_UP = 2


def loader_run(contestant: Contestant, stream: Iterable[list[PackedBatch]], num_steps: int) -> FigureTable:
    """Take steps from a stream until it is done; only what comes after the first two steps counts.

    Args:
        contestant: The model that makes the steps.
        stream: Batches, one micro-batch a step.
        num_steps: Steps that count.
    """
    table = FigureTable(
        "ours with the loader running",
        ("steps", "real tokens/s", "data wait %"),
        note="data wait: the share of the time in which the step waits for the loader. Batches are not seen before, so "
        "compiled shapes may be new.",
    )
    waits = _Waits(stream)
    steps = iter(waits)
    for (batch,) in islice(steps, WARM_UP):
        contestant.step(batch)
    contestant.wait()
    waits.seconds, tokens, begin = 0.0, 0, time.perf_counter()
    for (batch,) in islice(steps, num_steps):
        contestant.step(batch)
        tokens += batch.num_tokens
    contestant.wait()
    elapsed = time.perf_counter() - begin
    table.rows.append((num_steps, tokens / elapsed, 100 * waits.seconds / elapsed))
    return table


class _Waits:
    """A stream that counts the seconds of waiting for it."""

    def __init__(self, stream: Iterable[list[PackedBatch]]) -> None:
        self.seconds = 0.0
        self._stream = stream

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        batches = iter(self._stream)
        while True:
            begin = time.perf_counter()
            batch = next(batches)
            self.seconds += time.perf_counter() - begin
            yield batch
