"""The part of a report about errors: which label is taken for which, and the worst examples."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.plain_files import read_plain_text
from data_pipeline.untrusted.typed_fields import checked

MOST_LABELS = 30
"""Labels of a confusion matrix that a page still shows."""


def errors_section(path: Path) -> str:
    """Return the HTML of a file of errors, nothing if there is none.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.exists():
        return ""
    where = str(path)
    content = parse_object(read_plain_text(path.parent, path.name), where)
    labels = checked(content.get("labels", []), list[str], where, "labels")
    confusion = checked(content.get("confusion", []), list[list[int]], where, "confusion")
    worst = checked(content.get("worst", []), list[dict[str, object]], where, "worst")
    return _confusion(labels, confusion) + _worst(worst)


def _confusion(labels: Sequence[str], table: Sequence[Sequence[int]]) -> str:
    """Return the confusion matrix; the darker a cell, the larger its share of the examples with that label."""
    if not labels or len(labels) > MOST_LABELS:
        return ""
    rows = [f"<tr><th>right label</th>{''.join(f'<th>{_text(label)}</th>' for label in labels)}</tr>"]
    for label, counts in zip(labels, table, strict=False):
        total = sum(counts) or 1
        cells = (f'<td style="background: rgba(51, 101, 138, {count / total:.2f})">{count:,}</td>' for count in counts)
        rows.append(f"<tr><td>{_text(label)}</td>{''.join(cells)}</tr>")
    return f"<h2>Right and predicted labels</h2><table>{''.join(rows)}</table>"


def _worst(errors: Sequence[dict[str, Any]]) -> str:
    if not errors:
        return ""
    names = ("id", "text", "label", "prediction", "loss")
    rows = "".join(
        "<tr>" + "".join(f'<td style="text-align: left">{_text(error.get(name))}</td>' for name in names) + "</tr>"
        for error in errors
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<h2>Worst errors</h2><table><tr>{head}</tr>{rows}</table>"


def _text(value: object) -> str:
    shown = f"{value:.3f}" if isinstance(value, float) else str(value)
    return html.escape(printable(shown))
