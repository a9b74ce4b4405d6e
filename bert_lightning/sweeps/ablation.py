"""An ablation: named settings, each trained with several seeds, measured on the same held-out text, in one table."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from bert_lightning.settings.run_about import read_about
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.started_command import started_by
from bert_lightning.settings.typed_words import unquoted
from bert_lightning.sweeps.ablation_folder import AblationFolder
from bert_lightning.sweeps.ablation_settings import read_ablation
from bert_lightning.sweeps.ablation_table import (
    RunRow,
    ablation_content,
    as_markdown,
    as_rich_table,
    explanation,
    table_lines,
    write_ablation_report,
)
from bert_lightning.sweeps.composing import check_started_once, compose
from bert_lightning.sweeps.folder_kinds import ABLATION, check_kind
from bert_lightning.sweeps.outcomes import Outcome, results
from bert_lightning.sweeps.point_process import PointFailedError
from bert_lightning.sweeps.points import Point
from bert_lightning.sweeps.sweep import Sweep
from bert_lightning.sweeps.variant_points import VariantRun, plan_variants
from bert_lightning.sweeps.variant_scores import VariantScores, tokens_read, training_seconds
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)
_AT_ITS_END = ("finished", "was finished")


class Ablation:
    """The runs of an ablation and their table.

    Args:
        context: Hydra's loader of configs.
        config: The config of the ablation, without the changes of its variants.
        launcher: Runs points.
        one_by_one: Whether the launcher runs one point after another in any case.
        given: The settings of the sweeper.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, launcher: Launcher, one_by_one: bool, given: Mapping[str, Any]
    ) -> None:
        if "task" in config:
            raise ValueError(
                "hydra/sweeper=ablation is for bert-pretrain; bert-finetune trains settings by name with variants, "
                "such as 'variants={low:{optimizer:{lr:1e-5}},high:{optimizer:{lr:5e-5}}}'; the runs of an ablation "
                "are fine-tuned by its hydra.sweeper.tasks"
            )
        self._loader = context.config_loader
        self._config = config
        self._settings = read_ablation(given)
        self._sweep = Sweep(context, config, launcher, one_by_one, self._measure)
        self._errors: dict[int, str] = {}

    def run(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Train and measure what is not finished, show the table and return the content of ablation.json.

        Args:
            arguments: Overrides that all runs share.

        Raises:
            SystemExit: with status 1 if a run is missing in the table, or with that of a shell for a signal that ended
                the ablation.
            ValueError: if the ablation cannot begin.
        """
        check_started_once()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        self._check_overrides(arguments)
        base = self._compose(0, arguments)
        check_whole_number("seed", base.seed, least=0)
        seeds = range(base.seed, base.seed + self._settings.seeds)
        self._name = str(base.run_name)
        self._runs = plan_variants(self._settings.variants, seeds, self._name, arguments, self._compose)
        self._folder = AblationFolder(base.run_dir)
        check_kind(self._folder.path, self._name, ABLATION)
        logger = str(self._config.hydra.runtime.choices.get("logger", "csv"))
        self._scores = VariantScores(base, self._settings, logger)
        _ = self._scores.examples  # a folder without held-out documents says so now
        for run in self._runs:
            self._scores.check(run)
        with RunFolder(self._folder.path).locked(wait_seconds=2.0):
            status = self._sweep.launch([run.point for run in self._runs])
            content = self._write()
        outcomes = self._outcomes()
        self._show(content, outcomes)
        if status or any(outcome.status not in _AT_ITS_END for outcome in outcomes):
            sys.exit(status or 1)
        return content

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        return compose(self._loader, self._config, number, overrides)

    def _check_overrides(self, arguments: Sequence[str]) -> None:
        for override in OverridesParser.create(config_loader=self._loader).parse_overrides(list(arguments)):
            key = override.get_key_element().lstrip("+~")
            if override.is_sweep_override():
                raise ValueError(f"{key} has several values; give them to hydra.sweeper.variants by name")
            if key == "run_dir":
                raise ValueError("run_dir cannot be given: the runs lie in <output_dir>/<run_name>/<variant>/seed-<n>")

    def _measure(self, point: Point) -> None:
        """Measure a run that has come to its end, and write the tables."""
        run = self._runs[point.number]
        try:
            self._scores.measure(run)
            self._errors.pop(point.number, None)
        except (ValueError, OSError, RuntimeError, PointFailedError) as error:  # torch raises a RuntimeError for memory
            self._errors[point.number] = " ".join(str(error).split())
            log.info("%s was not measured: %s", point.swept, printable(self._errors[point.number]))
        self._write()

    def _outcomes(self) -> list[Outcome]:
        """Return what has become of the runs; one that could not be measured has failed."""
        return [
            Outcome(each.point, "failed", self._errors[each.point.number])
            if each.point.number in self._errors
            else each
            for each in self._sweep.outcomes([run.point for run in self._runs])
        ]

    def _write(self) -> dict[str, Any]:
        rows = [self._row(run, outcome) for run, outcome in zip(self._runs, self._outcomes(), strict=True)]
        chosen = dict.fromkeys(name for run in self._runs for name in self._scores.chosen_metrics(run))
        content = ablation_content(
            self._name, self._line(), self._settings.variants, rows, self._scores.examples, list(chosen)
        )
        self._folder.write(content, as_markdown(content, table_lines(content)))
        try:
            write_ablation_report(self._folder, content)
        except (OSError, ValueError) as error:
            log.warning("%s is not written, the ablation goes on: %s", self._folder.report, error)
        return content

    def _line(self) -> str:
        """Return the command line of the ablation, which goes on with it."""
        given = self._config.hydra.overrides
        ours = (each for each in given.hydra if not each.startswith("hydra.mode="))
        words = map(unquoted, (*ours, *given.task))
        return shlex.join([*started_by(self._config.hydra), "--multirun", *words])

    def _row(self, run: VariantRun, outcome: Outcome) -> RunRow:
        run_dir = run.point.run_dir
        assert run_dir is not None
        status = f"{outcome.status}: {outcome.error}" if outcome.error else outcome.status
        has_ended = outcome.status in _AT_ITS_END or run.point.number in self._errors
        metrics = self._scores.metrics(run) if has_ended else {}
        size = read_about(RunFolder(run_dir).about).encoder_parameters
        spent = (results(run_dir).step, tokens_read(run_dir), training_seconds(run_dir))
        return RunRow(run.variant, run.seed, str(run_dir), status, *spent, size, metrics)

    def _show(self, content: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
        console = Console(markup=False, emoji=False, highlight=False)
        console.print(as_rich_table(table_lines(content), explanation(content), console.width))
        for outcome in outcomes:
            if outcome.status not in _AT_ITS_END:
                error = f": {outcome.error}" if outcome.error else ""
                line = f"{outcome.point.swept}: {outcome.status}{error} ({outcome.point.run_dir})"
                console.print(printable(line), soft_wrap=True)
        files = f"{self._folder.markdown}, {self._folder.json.name} and {self._folder.report.name}"
        console.print(f"{files}: the table, all values, and a page with charts", soft_wrap=True)
