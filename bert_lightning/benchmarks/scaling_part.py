"""bert-benchmark part=scaling: the bytes that ranks send in a step, beside the formulas, and the time of a step."""

from functools import partial
from itertools import chain
from statistics import median
from typing import Any

from rich.console import Console

from bert_lightning.benchmarks.contestants import Setting
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.model_batches import ExampleSource
from bert_lightning.benchmarks.rank_run import Job, Turn, Way, run_ranks
from bert_lightning.benchmarks.traffic import ModelSize, ddp_bytes, fsdp_bytes, fsdp_bytes_on_gloo
from bert_lightning.execution.strategies import FullyShardedStrategy, ReplicatedStrategy, single_device
from data_pipeline.whole_numbers import check_whole_number

MICRO_BATCHES = 4
"""Micro-batches of a step, in the ways that accumulate."""
ALONE = Way("each for itself", partial(single_device, "cpu"), is_reference=True)
_DDP = partial(ReplicatedStrategy, gradient_as_bucket_view=True, broadcast_buffers=False, timeout_seconds=120)
_FSDP = partial(FullyShardedStrategy, timeout_seconds=120)

Ways = dict[Way, tuple[float, float]]


class ScalingPart:
    """Measure the same steps with one and with several ranks, each on one thread.

    Args:
        setting: The model, its precision and optimizer.
        source: Source of the examples; each of its batches is a micro-batch of one rank.
        ranks: Processes beside the single one.
        steps: Steps of each turn, after a warm-up.
        repeats: Turns of each way to train.
    """

    def __init__(
        self, setting: Setting, source: ExampleSource, ranks: int = 2, steps: int = 10, repeats: int = 3
    ) -> None:
        if setting.accelerator != "cpu":
            raise ValueError(
                f"part=scaling counts what gloo sends between processes on CPUs, not accelerator={setting.accelerator}"
            )
        if setting.precision == "fp8":
            raise ValueError("part=scaling measures in 32-true or bf16-mixed, not in precision=fp8")
        for name, number, least in (("ranks", ranks, 2), ("steps", steps, 1), ("repeats", repeats, 1)):
            check_whole_number(f"part.{name}", number, least)
        self.setting = setting
        self.source = source
        self.ranks = ranks
        self.steps = steps
        self.repeats = repeats
        objective = setting.shapes_only()
        source.check_targets(objective)
        self.size = ModelSize.of(objective)

    def __call__(self, console: Console) -> list[FigureTable]:
        """Measure all in turn."""
        ways = self._ways()
        one, many = ((ALONE,), 1), (tuple(ways), self.ranks)
        found = []
        for tried, ranks in (one, many):
            names = "; ".join(way.name for way in tried)
            console.print(f"{ranks} {'processes' if ranks > 1 else 'process'}: {names} ...")
            found.append(run_ranks(Job(self.setting, self.source, tried, self.steps, self.repeats), ranks))
        return [*self._steps(ways, found[0][0], found[1]), self._facts()]

    def _ways(self) -> Ways:
        """Return every way, and the bytes that a rank has to send in a step: by the formula, and as gloo does it."""
        size, ranks = self.size, self.ranks
        several = partial(Way, micro_batches=MICRO_BATCHES)
        ways = {
            ALONE: (0.0, 0.0),
            several(ALONE.name, ALONE.make_strategy, is_reference=True): (0.0, 0.0),
            Way("DDP", _DDP): (ddp_bytes(size, ranks),) * 2,
            Way("DDP, bf16 gradients", partial(_DDP, gradient_compression="bf16")): (ddp_bytes(size, ranks, 2),) * 2,
            several("DDP", _DDP): (ddp_bytes(size, ranks),) * 2,
            Way("FSDP2", _FSDP): self._sharded(),
            Way("FSDP2, gathered once", partial(_FSDP, reshard_after_forward=False)): self._sharded(
                gathers_twice=False
            ),
            several("FSDP2", _FSDP): self._sharded(micro_batches=MICRO_BATCHES),
        }
        if self.setting.precision != "32-true":
            way = Way("FSDP2, bf16 parameters", partial(_FSDP, param_dtype="bfloat16"))
            ways[way] = self._sharded(parameter_bytes=2)
        return ways

    def _sharded(self, **options: Any) -> tuple[float, float]:
        return fsdp_bytes(self.size, self.ranks, **options), fsdp_bytes_on_gloo(self.size, self.ranks, **options)

    def _steps(self, ways: Ways, alone: list[Turn], found: list[list[Turn]]) -> list[FigureTable]:
        time = FigureTable(
            "time of a step",
            ("way", "processes", "micro-batches", "step ms", "lowest ms", "highest ms", "% for communication"),
            note="A process has one thread and micro-batches of its own, so rows with as many of them do the same work "
            "in each. Communication: what the median step takes longer than that without exchange.",
        )
        sent = FigureTable(
            "MB that a process sends in a step",
            ("way", "micro-batches", "sent", "formula", "formula as gloo does it"),
            note="sent: as the kernel counts, in the first process. If FSDP2 asks for a part, gloo reduces the whole.",
        )
        silent = {
            way.micro_batches: median(_seconds(turns))
            for way, turns in zip(ways, found, strict=True)
            if way.is_reference
        }
        time.rows.append((ALONE.name, 1, 1, *_spread(alone), None))
        for (way, expected), turns in zip(ways.items(), found, strict=True):
            share = None if way.is_reference else 1 - silent[way.micro_batches] / median(_seconds(turns))
            time.rows.append(
                (way.name, self.ranks, way.micro_batches, *_spread(turns), None if share is None else 100 * share)
            )
            if not way.is_reference:
                megabytes = sum(turn.sent for turn in turns) / len(_seconds(turns)) / 1e6
                sent.rows.append((way.name, way.micro_batches, megabytes, *(bytes_ / 1e6 for bytes_ in expected)))
        return [time, sent]

    def _facts(self) -> FigureTable:
        table = FigureTable("facts", ("fact", "value"))
        table.rows.extend(
            [
                ("model", self.setting.name),
                ("precision", self.setting.precision),
                ("parameters, million", self.size.total / 1e6),
                ("of them outside the layers", self.size.root / 1e6),
                ("gradients in fp32, MB", 4 * self.size.total / 1e6),
                ("examples", self.source.describe()),
                ("examples of a micro-batch", self.source.micro_batch_size),
                ("steps measured of each way", self.steps * self.repeats),
            ]
        )
        return table


def _seconds(turns: list[Turn]) -> list[float]:
    return list(chain.from_iterable(turn.seconds for turn in turns))


def _spread(turns: list[Turn]) -> tuple[float, float, float]:
    """Return the median, the lowest and the highest milliseconds of a step."""
    seconds = _seconds(turns)
    return 1e3 * median(seconds), 1e3 * min(seconds), 1e3 * max(seconds)
