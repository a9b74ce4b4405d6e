"""How fast the stream is, how soon its first batch comes, and what memory it takes."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.masking import TokenMasking
from data_pipeline.packing import PackedBatch
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.samples import PretrainingSamples
from data_pipeline.stream import PretrainingStream

ENDLESS = 10**9
CHECKPOINTS = 8


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank takes of each step."""

    global_batch_size: int
    micro_batch_size: int

    def stream(self, samples: PretrainingSamples, num_workers: int = 0) -> PretrainingStream:
        """Return the stream of a single rank."""
        return PretrainingStream(
            samples, self.global_batch_size, self.micro_batch_size, ENDLESS, num_workers=num_workers
        )


def stream_speed(
    samples: PretrainingSamples, share: Share, num_workers: int, seconds: float
) -> Callable[[], tuple[float, float, float]]:
    """Return a measurement: real tokens per second, those of padded rows, and the share of filler."""

    def measure() -> tuple[float, float, float]:
        steps = iter(share.stream(samples, num_workers))
        for _ in range(2 + 8 * num_workers):  # what the processes have made before the clock starts
            next(steps)
        real, computed, examples, elapsed = _count(steps, seconds)
        return real / elapsed, examples * samples.seq_len / elapsed, 1 - real / computed

    return measure


def _count(steps: Iterator[list[PackedBatch]], seconds: float) -> tuple[int, int, int, float]:
    """Return real tokens, computed tokens, examples and the time they took."""
    real = computed = examples = 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        for batch in next(steps):
            real += batch.num_tokens
            computed += len(batch.input_ids)
            examples += batch.num_pairs
    return real, computed, examples, elapsed


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
    path: str, seed: int, seq_len: int, share: Share, seconds: float
) -> list[tuple[str, float | None, int]]:
    """Return, for successive shares of the time, the resident megabytes of a fresh process and the examples it read."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_memory, args=(sender, path, seed, seq_len, share, seconds))
    process.start()
    sender.close()
    try:
        return [receiver.recv() for _ in range(CHECKPOINTS)]
    finally:
        process.join()


def _report_memory(
    sender: "multiprocessing.connection.Connection", path: str, seed: int, seq_len: int, share: Share, seconds: float
) -> None:
    samples = PretrainingSamples(path, "train", SegmentPairs(), TokenMasking(), seq_len, seed)
    steps, examples = iter(share.stream(samples)), 0
    for part in range(1, CHECKPOINTS + 1):
        _, _, read, _ = _count(steps, seconds / CHECKPOINTS)
        examples += read
        sender.send((f"{part / CHECKPOINTS:.0%}", _resident_megabytes(), examples))


def _resident_megabytes() -> float | None:
    """Return this process's resident memory as Linux gives it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kilobytes[0] / 1000 if kilobytes else None
