"""The figures of a session, or of a folder of bert-benchmark's JSON files, as one table in Markdown.

PYTHONPATH=docs/benchmarks python -m gpu_session.table FOLDER
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
EPOCH_TOKENS = 4.39e9
"""Tokens of an epoch of Wikipedia and BookCorpus: 3.3 billion words (Devlin et al., 2019) at 1.33 WordPieces a word."""
COLUMNS = {
    "real tokens/s": "{:,.0f}",
    "examples/s": "{:,.0f}",
    "step ms": "{:.1f}",
    "MFU % of the data sheet": "{:.1f}",
    "MFU % of the measured peak": "{:.1f}",
    "peak memory GB": "{:.1f}",
    "compile s": "{:.0f}",
    "recompiled later": "{}",
}
MOST_CHARACTERS = 11_500
"""Length of the table: what is printed last must fit into 12,000 characters."""
LONGEST_LINE = 200


def speed_rows(name: str, record: Record) -> list[list[str]]:
    """Return a row for each contestant of one benchmark of the training step."""
    speeds, ratios, *_ = record["tables"].values()
    faster = {row["than"]: f"{row['median']:.2f}" for row in ratios}
    return [
        [
            name,
            row["who"],
            *("-" if row[column] is None else form.format(row[column]) for column, form in COLUMNS.items()),
            "-" if not row["real tokens/s"] else f"{EPOCH_TOKENS / row['real tokens/s'] / 3600:,.1f}",
            faster.get(row["who"], ""),
        ]
        for row in speeds
    ]


def has_speeds(record: Record) -> bool:
    """Return whether a record holds figures of the training step."""
    return any("training step" in title for title in record.get("tables", {}))


def as_markdown(records: Sequence[tuple[str, Record]]) -> str:
    """Return the table, what other steps say in a line each, and the last lines of each failure; it is never too long.

    Args:
        records: Names and records, in the order to show them.
    """
    rows = [cells for name, record in records if has_speeds(record) for cells in speed_rows(name, record)]
    columns = ["run", "who", *COLUMNS, "hours an epoch", "ours is faster by"]
    table = [columns, ["---"] * 2 + ["---:"] * (len(columns) - 2), *rows]
    lines = [f"| {' | '.join(cells)} |" for cells in table] if rows else []
    others = [f"{name}: {record['line']}" for name, record in records if record.get("ok") and not has_speeds(record)]
    failures = [
        f"{name} FAILED: {line}" for name, record in records if not record.get("ok", True) for line in record["error"]
    ]
    return _cut([_heading(records), "", *lines, "", *(line[:LONGEST_LINE] for line in [*others, *failures])])


def _heading(records: Sequence[tuple[str, Record]]) -> str:
    if not records:
        return "no figures"
    record = records[0][1]
    machine = record["machine"]
    device = ", ".join(machine["gpus"]) or machine["processor"]
    versions = machine["versions"]
    return (
        f"{record['date']}, commit {record.get('commit') or machine['commit']}, {device}, torch {versions['torch']}, "
        f"transformers {versions.get('transformers')}"
    )


def _cut(lines: Sequence[str]) -> str:
    """Join lines; the last ones are left out, and counted, if there are too many characters."""
    kept: list[str] = []
    length = 0
    for number, line in enumerate(lines):
        length += len(line) + 1
        if length > MOST_CHARACTERS:
            return "\n".join([*kept, f"... and {len(lines) - number} lines more, in the results"]) + "\n"
        kept.append(line)
    return "\n".join(kept) + "\n"


def main(folder: Path) -> None:
    """Print the table of a folder."""
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    known = [(name, record) for name, record in found if "step" in record or has_speeds(record)]
    print(as_markdown(known), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
