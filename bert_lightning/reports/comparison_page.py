"""The page that lays several runs over each other: their figures, the settings that differ, their curves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from bert_lightning.reports.charts import PALETTE, Chart, Curve, line_chart
from bert_lightning.reports.page import render
from bert_lightning.reports.run_page import CHARTS, FIGURES, RunPage, read_run
from bert_lightning.reports.shown_quantities import ShownQuantity
from bert_lightning.settings.changed_settings import NAMES_OF_THE_RUN, flat_settings
from bert_lightning.settings.run_folder import RunFolder, write_whole
from data_pipeline.untrusted.escaping import printable

TOKENS = "progress/tokens"
_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """What the page shows.

    Attributes:
        names: Names of the runs.
        runs: The runs.
    """

    names: Sequence[str]
    runs: Sequence[RunPage]

    @property
    def title(self) -> str:
        """Title of the page."""
        return f"{len(self.runs)} runs compared"

    @property
    def named_runs(self) -> list[tuple[str, RunPage]]:
        """The runs with their names."""
        return list(zip(self.names, self.runs, strict=True))

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Name and color of every run."""
        return [(name, PALETTE[number % len(PALETTE)]) for number, name in enumerate(self.names)]

    @property
    def quantities(self) -> list[ShownQuantity]:
        """The quantities of the objectives, each once."""
        return list({shown.name: shown for run in self.runs for shown in run.quantities}.values())

    @property
    def figures(self) -> list[list[str]]:
        """The table of last values: names in the first row, then a row for every run."""
        wanted = [(f"val/{shown.name}", f"held-out {shown.title}", shown.format) for shown in self.quantities]
        wanted = [each for each in [*wanted, *FIGURES] if any(each[0] in run.columns for run in self.runs)]
        rows = [["run", *(label for _, label, _ in wanted), "steps"]]
        for name, run in self.named_runs:
            last = run.last
            cells = (form.format(last[key]) if key in last else _ABSENT for key, _, form in wanted)
            rows.append([name, *cells, f"{run.last_step:,}"])
        return rows

    @property
    def differences(self) -> list[list[str]]:
        """The settings that differ: names in the first row, then a row for every setting."""
        settings = [flat_settings(run.settings) for run in self.runs]
        rows = [["setting", *self.names]]
        for key in dict.fromkeys(key for each in settings for key in each):
            values = [each.get(key, _ABSENT) for each in settings]
            if len(set(values)) > 1 and not set(key.split(".")) & set(NAMES_OF_THE_RUN):
                rows.append([key, *values])
        return rows

    @property
    def charts(self) -> list[Chart]:
        """What is measured on held-out text by step, and by tokens if every run counts them; then training."""
        shown = [each for each in self.quantities if each.unit]
        held_out = {f"val/{each.name}": (f"Held-out {each.title}", each.unit) for each in shown}
        held_out = {"val/loss": ("Held-out loss", "nats")} | held_out
        charts = [self._chart(title, unit, key) for key, (title, unit) in held_out.items()]
        if all(TOKENS in run.columns for run in self.runs):
            charts += [self._chart(title, unit, key, by_tokens=True) for key, (title, unit) in held_out.items()]
        charts.append(self._chart("Training loss", "nats", "train/loss"))
        for title, unit, series in CHARTS[1:]:
            several = len(series) > 1
            charts += [self._chart(label if several else title, unit, key) for key, label in series.items()]
        return [chart for chart in charts if chart is not None]

    def _chart(self, title: str, unit: str, key: str, by_tokens: bool = False) -> Chart | None:
        curves = []
        for (name, color), run in zip(self.keys, self.runs, strict=True):
            steps, values = run.columns.get(key, ([], []))
            across = _tokens_at(run, steps) if by_tokens else steps
            curves.append(Curve(name, across, values, color))
        return line_chart(title, unit, curves, "tokens" if by_tokens else "step")


def _tokens_at(run: RunPage, steps: Sequence[int]) -> list[float]:
    """Return the tokens that a run has seen at some of its steps, on a line between the steps that have a count."""
    return list(map(float, np.interp(steps, *run.columns[TOKENS])))


def read_comparison(folders: Sequence[Path]) -> ComparisonPage:
    """Return what the page about several runs shows.

    Args:
        folders: Folders of the runs.

    Raises:
        ValueError: if a folder has no metrics, or one of its files is damaged.
    """
    runs = [read_run(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        try:
            flat_settings(run.settings)
        except (yaml.YAMLError, ValueError) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{RunFolder(folder).config} cannot be read as YAML: {printable(said)}") from None
    return ComparisonPage(short_names(folders), runs)


def write_comparison(page: ComparisonPage, output: Path) -> Path:
    """Write the page about several runs and return its path.

    Args:
        page: What it shows.
        output: The file.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, render("comparison.html.j2", page=page))
    return output


def common_folder(folders: Sequence[Path]) -> Path:
    """Return the folder that all of some folders lie in.

    >>> str(common_folder([Path("/out/a"), Path("/out/sweep/b")]))
    '/out'
    """
    return Path(os.path.commonpath([folder.resolve().parent for folder in folders]))


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the paths of some folders from the folder that they have in common, which tell them apart.

    >>> short_names([Path("/out/a"), Path("/out/sweep/b")])
    ['a', 'sweep/b']
    """
    common = common_folder(folders)
    return [folder.resolve().relative_to(common).as_posix() for folder in folders]
