"""The results about training steps, as tables and a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_lightning.benchmarks.chart import write_chart
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.step_speed import Runner, median
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.useful_flops import FORMULA, step_flops
from data_pipeline.streams.packed_batch import MLM, PackedBatch


@dataclass(frozen=True, slots=True)
class Work:
    """The work in the steps of each turn; it is the same for every contestant.

    Attributes:
        tokens: Real tokens of each turn.
        examples: Examples of each turn.
        flops: Useful operations of each turn, by the formula of `flops`.
    """

    tokens: list[int]
    examples: list[int]
    flops: list[float]

    @staticmethod
    def of(config: EncoderConfig, batches: Sequence[PackedBatch], repeats: int, steps: int) -> "Work":
        """Count the batches of each turn: `steps` of them, beginning after the last batch of the turn before."""
        tokens = [batch.num_tokens for batch in batches]
        examples = [batch.num_examples for batch in batches]
        flops = [batch_flops(config, batch) for batch in batches]
        turns = [[(turn * steps + step) % len(batches) for step in range(steps)] for turn in range(repeats)]
        return Work(
            [sum(tokens[number] for number in turn) for turn in turns],
            [sum(examples[number] for number in turn) for turn in turns],
            [sum(flops[number] for number in turn) for turn in turns],
        )

    def per_second(self, quantity: Sequence[float], runner: Runner, steps: int) -> float:
        """Return the median rate over the turns of a contestant."""
        return median([done / (seconds * steps) for done, seconds in zip(quantity, runner.seconds, strict=True)])


def squared_lengths(batch: PackedBatch) -> float:
    """Return the sum of the squared lengths of the real sequences."""
    return float(batch.tokens.cu_seqlens.diff()[: batch.num_examples].double().square().sum())


def batch_flops(config: EncoderConfig, batch: PackedBatch) -> float:
    """Return the useful operations of a training step on a batch."""
    return step_flops(config, batch.num_tokens, squared_lengths(batch), batch.targets[MLM].count)


def speeds(runners: Sequence[Runner], work: Work, steps: int, peak: float, datasheet: float | None) -> FigureTable:
    """Return a row for each contestant."""
    table = FigureTable(
        "training step: copy, forward, backward, clipping and optimizer",
        (
            "who",
            "real tokens/s",
            "examples/s",
            "step ms",
            "lowest ms",
            "highest ms",
            "MFU % of the measured peak",
            "MFU % of the data sheet",
            "peak memory GB",
            "compile s",
            "compiled graphs",
            "recompiled later",
        ),
        note="Medians over the turns. MFU counts useful work alone, so padding and scores of tokens that are not "
        "masked do not raise it. Compile s: warm-up beyond as many steps of the median.",
    )
    for runner in runners:
        if runner.failure:
            table.rows.append((runner.name, *[None] * (len(table.columns) - 1)))
            continue
        flops = work.per_second(work.flops, runner, steps)
        table.rows.append(
            (
                runner.contestant.name,
                work.per_second(work.tokens, runner, steps),
                work.per_second(work.examples, runner, steps),
                1000 * runner.median_seconds,
                1000 * min(runner.seconds),
                1000 * max(runner.seconds),
                100 * flops / peak,
                None if datasheet is None else 100 * flops / datasheet,
                None if runner.peak_bytes is None else runner.peak_bytes / 1e9,
                runner.compile_seconds,
                *runner.num_compiled,
            )
        )
    return table


def ratios(runners: Sequence[Runner]) -> FigureTable:
    """Compare the first contestant with each other one, turn by turn: load of the machine falls on both of a pair."""
    table = FigureTable(
        f"how many times faster {runners[0].contestant.name} is, pair by pair",
        ("than", "median", "lowest", "highest", "pairs"),
    )
    for other in [] if runners[0].failure else [runner for runner in runners[1:] if not runner.failure]:
        pairs = [theirs / ours for ours, theirs in zip(runners[0].seconds, other.seconds, strict=True)]
        table.rows.append((other.contestant.name, median(pairs), min(pairs), max(pairs), len(pairs)))
    return table


def losses(runners: Sequence[Runner]) -> FigureTable:
    """Return the losses before and after, without dropout, on the first batch."""
    table = FigureTable(
        "joint loss on the first batch, without dropout",
        ("who", "before", "after", "steps between"),
        note="Same weights at first, same batches; noise of dropout and rounding is what may differ.",
    )
    for runner in runners:
        before, after = runner.losses if len(runner.losses) == 2 else (None, None)
        table.rows.append((runner.name, before, after, runner.num_steps))
    return table


def facts(
    config: EncoderConfig, batches: Sequence[PackedBatch], parameters: int, settings: dict[str, str], peak: float
) -> FigureTable:
    """Return the facts about the measurement, and the formula of MFU."""
    tokens = sum(batch.num_tokens for batch in batches)
    squares = sum(squared_lengths(batch) for batch in batches)
    examples = sum(batch.num_examples for batch in batches)
    computed = sum(len(batch.tokens.input_ids) for batch in batches)
    flops = sum(batch_flops(config, batch) for batch in batches)
    table = FigureTable("what was measured", ("fact", "value"), note=FORMULA)
    table.rows.extend(
        [
            *settings.items(),
            ("million parameters", parameters / 1e6),
            ("measured peak of a matrix product, TFLOP/s", peak / 1e12),
            ("examples a step", examples // len(batches)),
            ("real tokens a step, mean", tokens / len(batches)),
            ("mean length", tokens / examples),
            ("s_eff", squares / tokens),
            ("predictions, % of the tokens", 100 * sum(batch.targets[MLM].count for batch in batches) / tokens),
            ("filler that ours computes, %", 100 * (1 - tokens / computed)),
            ("padding of full rows, %", 100 * (1 - tokens / (examples * batches[0].tokens.max_seqlen))),
            ("useful GFLOP a token", flops / tokens / 1e9),
        ]
    )
    return table


def draw(path: Path, title: str, runners: Sequence[Runner], work: Work, steps: int) -> None:
    """Write the chart of tokens a second of those who finished."""
    runners = [runner for runner in runners if not runner.failure]
    rates = [work.per_second(work.tokens, runner, steps) for runner in runners]
    write_chart(path, title, [runner.contestant.name for runner in runners], rates)
