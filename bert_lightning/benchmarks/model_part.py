"""bert-benchmark part=model: our training step beside transformers' on the same examples, with the same weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from torch import Tensor

from bert_lightning.benchmarks.contestants import Contestant, Setting, ours
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.loader_run import loader_run
from bert_lightning.benchmarks.model_batches import ExampleSource
from bert_lightning.benchmarks.model_tables import Work, draw, facts, losses, ratios, speeds
from bert_lightning.benchmarks.padding_free import padding_free
from bert_lightning.benchmarks.step_speed import race
from bert_lightning.benchmarks.transformers_berts import huggingface, pair_target
from bert_lightning.metrics.flops import datasheet_peak_flops, measured_peak_flops, parameter_count
from data_pipeline.whole_numbers import check_whole_number

EAGER, COMPILED = (partial(huggingface, is_compiled=compiled, is_full_row=False) for compiled in (False, True))
BASELINES: dict[str, tuple[Callable[[Setting, dict[str, Tensor]], Contestant], ...]] = {
    "hf": (EAGER, COMPILED),
    "hf_full_rows": (partial(EAGER, is_full_row=True), partial(COMPILED, is_full_row=True)),
    "hf_eager": (EAGER,),
    "hf_compiled": (COMPILED,),
    "hf_padding_free": (padding_free,),
    "none": (),
}
"""Functions that build the models of transformers that take part, from the setting and the weights of ours."""


class ModelPart:
    """Measure the training step.

    Args:
        setting: The model, the device, precision and optimizer.
        source: Source of the examples.
        baseline: A key of BASELINES.
        num_batches: Different batches; the warm-up has a step on each.
        repeats: Turns of each contestant.
        steps: Steps in a row in each turn.
        num_workers: Loader processes of the run with the loader.
        chart: A file for the chart, as PNG.
    """

    def __init__(
        self,
        setting: Setting,
        source: ExampleSource,
        baseline: str = "hf",
        num_batches: int = 4,
        repeats: int = 10,
        steps: int = 1,
        num_workers: int = 2,
        chart: str | None = None,
    ) -> None:
        if baseline not in BASELINES:
            raise ValueError(f"baseline={baseline} is none of {', '.join(BASELINES)}")
        for name, number in (("num_batches", num_batches), ("repeats", repeats), ("steps", steps)):
            check_whole_number(f"part.{name}", number)
        objective = setting.shapes_only()
        source.check_targets(objective)
        if baseline != "none":
            pair_target(objective)
        self.setting = setting
        self.source = source
        self.baseline = baseline
        self.num_batches = num_batches
        self.repeats = repeats
        self.steps = steps
        self.num_workers = num_workers
        self.chart = chart

    def __call__(self, console: Console) -> list[FigureTable]:
        """Measure all in turn."""
        setting = self.setting
        num_shapes = setting.compilation.num_shapes(setting.device.type)
        batches = self.source.batches(self.num_batches, num_shapes)
        work = Work.of(setting.config, batches, self.repeats, self.steps)
        peak = measured_peak_flops(setting.device, setting.dtype)
        candidate = ours(setting)
        state = {name: tensor.detach().cpu().clone() for name, tensor in candidate.model.state_dict().items()}
        others = [build(setting, state) for build in BASELINES[self.baseline]]
        console.print(
            f"{'; '.join(one.name for one in [candidate, *others])}: warm-up, then {self.repeats} turns each ..."
        )
        runners = race([candidate, *others], batches, self.repeats, self.steps)
        peak = max(peak, measured_peak_flops(setting.device, setting.dtype))
        tables = [speeds(runners, work, self.steps, peak, datasheet_peak_flops(setting.device, setting.dtype))]
        tables += [ratios(runners), losses(runners)]
        stream = self.source.stream(self.num_workers, setting.device.type == "cuda", num_shapes)
        if stream is not None and not runners[0].failure:
            console.print("with the loader running ...")
            tables.append(loader_run(candidate, stream, self.repeats * self.steps))
        if self.chart:
            title = f"{setting.name}, {self.source.seq_len} tokens"
            draw(Path(self.chart), title, runners, work, self.steps)
        told = {"model": setting.name, "examples": self.source.describe(), "precision": setting.precision}
        return [*tables, facts(setting.config, batches, parameter_count(candidate.model), told, peak)]
