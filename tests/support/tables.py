"""Parquet files of given rows."""

from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet


def write_rows(path: Path, rows: list[dict[str, Any]], row_group_size: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def articles(number: int) -> list[dict[str, Any]]:
    return [{"id": str(i), "url": "u", "title": f"T{i}", "text": f"Article {i} is here."} for i in range(number)]
