"""What a command says of many texts, as lines of JSON: printed, or in a file that appears whole or not at all."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bert_lightning.settings.run_folder import check_file_place, partial_path
from data_pipeline.untrusted.escaping import printable

_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters as JSON spells them out: it knows no \\x92. `json.dumps` leaves only these."""


def write_lines(rows: Iterable[Mapping[str, Any]], output: str | None, title: str) -> None:
    """Print rows as they come, or write them to a file and say how many there are.

    Args:
        rows: What becomes a line each.
        output: The file; None for standard output.
        title: What the rows are, in the plural.

    Raises:
        ValueError: if the folder of the file does not exist. An error among the rows leaves no file.
    """
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    if output is None:
        for line in lines:
            print(printable(line.translate(_CONTROLS)))
        return
    path, number = Path(output), 0
    check_file_place(path)
    try:
        with partial_path(path).open("w", encoding="utf-8") as file:
            for number, line in enumerate(lines, 1):  # noqa: B007  used after the loop
                file.write(f"{line}\n")
        partial_path(path).replace(path)
    finally:
        partial_path(path).unlink(missing_ok=True)
    print(f"{output}: {number:,} {title}")
