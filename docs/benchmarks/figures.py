"""Print the figures of a folder of bert-benchmark's JSON files as one table, in Markdown.

python docs/benchmarks/figures.py FOLDER
"""

import json
import sys
from pathlib import Path

COLUMNS = {
    "real tokens/s": "{:,.0f}",
    "examples/s": "{:,.0f}",
    "MFU % of the data sheet": "{:.1f}",
    "MFU % of the measured peak": "{:.1f}",
    "peak memory GB": "{:.1f}",
    "compile s": "{:.0f}",
    "recompiled later": "{}",
}


def rows(path: Path) -> list[list[str]]:
    """Return a row for each contestant of one run, the first one's speed over the others' last."""
    speeds, ratios, *_ = json.loads(path.read_text())["tables"].values()
    faster = {row["than"]: f"{row['median']:.2f}" for row in ratios}
    return [
        [
            path.stem,
            row["who"],
            *("-" if row[name] is None else form.format(row[name]) for name, form in COLUMNS.items()),
            faster.get(row["who"], ""),
        ]
        for row in speeds
    ]


def main(folder: Path) -> None:
    """Print date, commit and the table."""
    files = sorted(folder.glob("*.json"))
    if not files:
        print(f"no figures in {folder}")
        return
    first = json.loads(files[0].read_text())
    machine = first["machine"]
    print(
        f"{first['date']}, commit {machine['commit']}, {', '.join(machine['gpus']) or machine['processor']},", end=" "
    )
    print(f"torch {machine['versions']['torch']}, transformers {machine['versions'].get('transformers')}\n")
    table = [["run", "who", *COLUMNS, "ours is faster by"], ["---"] * 2 + ["---:"] * (len(COLUMNS) + 1)]
    for cells in table + [cells for path in files for cells in rows(path)]:
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
