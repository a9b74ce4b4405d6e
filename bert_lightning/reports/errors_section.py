"""The part of a report about errors: which label is taken for which, and the worst examples."""

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from bert_lightning.reports.page import render
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import checked

MOST_LABELS = 30
"""Labels of a confusion matrix that a page still shows."""


def errors_section(path: Path) -> Markup:
    """Return the HTML of a file of errors, nothing if there is none.

    Raises:
        ValueError: if the file is damaged.
    """
    content, where = read_object(path), str(path)
    if content is None:
        return Markup()
    labels = checked(content.get("labels", []), list[str], where, "labels")
    confusion = checked(content.get("confusion", []), list[list[int]], where, "confusion")
    worst = checked(content.get("worst", []), list[dict[str, object]], where, "worst")
    rows = list(zip(labels, confusion, strict=False)) if len(labels) <= MOST_LABELS else []
    return render("errors.html.j2", labels=labels, rows=rows, worst=[_cells(error) for error in worst])


def _cells(error: Mapping[str, object]) -> list[str]:
    loss = error.get("loss")
    shown = f"{loss:.3f}" if isinstance(loss, float) else str(loss)
    return [*(str(error.get(name)) for name in ("id", "text", "label", "prediction")), shown]
