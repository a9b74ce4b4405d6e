"""A saved workspace of W&B: sections of charts over all runs of a project."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_lightning.settings.run_folder import write_whole
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.internals import check_internal

CHECKED_WITH = "wandb-workspaces 0.4.13"
"""Package and version in which the meaning of its private names was read."""


def import_workspaces() -> Any:
    """Return the package that makes workspaces.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise ValueError("bert-dashboard needs wandb-workspaces: pip install 'bert-lightning[dashboard]'") from None
    return workspaces


def parallel_coordinates(parameters: Sequence[str], metric: str) -> Any:
    """Return a panel with a line for each run through its settings and, at the end, what they have reached.

    Args:
        parameters: Names of settings, such as optimizer.lr.
        metric: Name of a metric.
    """
    from wandb_workspaces.reports import v2

    columns = [v2.ParallelCoordinatesPlotColumn(metric=v2.Config(name), display_name=name) for name in parameters]
    reached = v2.ParallelCoordinatesPlotColumn(metric=v2.SummaryMetric(metric), display_name=metric)
    return v2.ParallelCoordinatesPlot(columns=[*columns, reached])


def scatter(parameter: str, metric: str) -> Any:
    """Return a panel with a point for each run: what it has reached over one of its settings.

    Args:
        parameter: Name of a setting.
        metric: Name of a metric.
    """
    from wandb_workspaces.reports import v2

    return v2.ScatterPlot(title=f"{metric} by {parameter}", x=v2.Config(parameter), y=v2.SummaryMetric(metric))


def make_workspace(entity: str, project: str, name: str, sections: Sequence[Any]) -> Any:
    """Return a workspace that is not saved yet.

    Args:
        entity: User or team that the project belongs to.
        project: Name of the project.
        name: Name of the view.
        sections: The sections, with their panels.
    """
    workspaces = import_workspaces()
    settings = workspaces.WorkspaceSettings(x_axis="trainer/step", max_runs=20)
    return workspaces.Workspace(entity, project, name=name, sections=list(sections), settings=settings)


def write_view(workspace: Any, output: Path) -> None:
    """Write what a workspace would save, as JSON."""
    check_internal(workspace, "_to_model", CHECKED_WITH)
    view = workspace._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    write_whole(output, json.dumps(view, indent=1) + "\n")


def save_workspace(workspace: Any, url: str | None) -> str:
    """Save a workspace in W&B and return its address.

    Args:
        workspace: The workspace.
        url: Address of the view to replace; None for a new one.

    Raises:
        ValueError: if there is no such view, or W&B does not save it.
    """
    for internal in ("_internal_name", "_internal_id"):
        check_internal(workspace, internal, CHECKED_WITH)
    try:
        if url is not None:
            before = import_workspaces().Workspace.from_url(url)
            workspace._internal_name, workspace._internal_id = before._internal_name, before._internal_id
        return workspace.save().url
    except Exception as error:  # whatever W&B raises, it is about the account, the project or the network
        reason = printable((str(error) or type(error).__name__).splitlines()[0])
        raise ValueError(f"{workspace.entity}/{workspace.project} does not take the workspace: {reason}") from None
