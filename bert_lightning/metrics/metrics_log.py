"""A metrics.csv that survives resumes; its only axis is the optimizer step. The newest tables lie beside it.

Lightning's CSVLogger deletes the file of an earlier part of the run.
"""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from bert_lightning.settings.run_folder import RunFolder, partial_path, write_whole
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
STEP = "step"
Row = dict[str, str]


class MetricsCsv(Logger):
    """One row a step, one column a metric.

    A call writes the row of its step at the end of the file, over what earlier calls for the same step have written
    there, so the cost of a call does not depend on the length of the file. Only a metric that is new gives the file
    another header, and then the file is written again as a whole.

    The first call of a process, for step s, removes the rows after s. An interrupted part of the run has written them
    and this process makes them again, so a resumed run ends with exactly the rows of one that was never stopped.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__()
        self.folder = RunFolder(run_dir)
        self.path = self.folder.metrics
        self._columns: list[str] | None = None
        # Every call may write the row of the current step again. The rows before it are finished.
        self._finished_bytes, self._finished_step = 0, -1
        self._rows: dict[int, Row] = {}  # the current row, and older ones that a full disk did not take

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def version(self) -> int:
        """There is one file per run."""
        return 0

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the settings are in the run's config file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step.

        If the disk is full, the row is kept in memory and written with the next one.

        Raises:
            ValueError: if there is no step.
        """
        if step is None:
            raise ValueError(f"{self.name} needs the step of every value")
        if self._columns is None:
            self._continue_at(step)
        row = self._rows.setdefault(step, {STEP: str(step)})
        row.update({name: repr(float(value)) for name, value in metrics.items()})
        names = {name for each in self._rows.values() for name in each}
        try:
            if self.path.exists() and names <= set(self._columns or ()) and min(self._rows) > self._finished_step:
                self._append(self._columns or [])
            else:
                self._rewrite()
        except OSError as error:
            log.warning("%s is not up to date: %s", self.path, error)

    @rank_zero_only
    def log_table(self, key: str, columns: Sequence[str], data: Sequence[Sequence[Any]], step: int) -> None:
        """Write a table, which takes the place of an older one with the same name, for the report of the run.

        Args:
            key: Name of the table.
            columns: Names of its columns.
            data: Its rows.
            step: Step that it was made at.
        """
        path = self.folder.tables / f"{key}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"step": step, "columns": columns, "rows": data}, default=str) + "\n")
        except OSError as error:
            log.warning("%s is not up to date: %s", path, error)

    def _continue_at(self, step: int) -> None:
        """Find the end of the rows before `step`, and take over the row of `step`."""
        content = self.path.read_bytes() if self.path.exists() else b""
        self._columns, rows = _parse(content)
        self._rows = {number: row for _, number, row in rows if number == step}
        self._finished_step = max((number for _, number, _ in rows if number < step), default=-1)
        end = content.rfind(b"\n") + 1
        self._finished_bytes = min((begin for begin, number, _ in rows if number >= step), default=end)

    def _append(self, columns: Sequence[str]) -> None:
        """Write the rows in memory after those that are finished; all but the last are finished then."""
        steps = sorted(self._rows)
        *finished, last = [_line(columns, self._rows[step]) for step in steps]
        with self.path.open("r+b") as file:
            file.seek(self._finished_bytes)
            file.write(b"".join([*finished, last]))
            file.truncate()
        self._keep_last(steps, self._finished_bytes + sum(map(len, finished)))

    def _rewrite(self) -> None:
        """Write the whole file with a header that names every metric, and put it in the place of the old one."""
        content = self.path.read_bytes()[: self._finished_bytes] if self.path.exists() else b""
        rows = {step: row for _, step, row in _parse(content)[1]}
        rows |= {step: rows.get(step, {}) | row for step, row in self._rows.items()}
        columns = [STEP, *sorted({name for row in rows.values() for name in row} - {STEP})]
        steps = sorted(rows)
        header = {name: name for name in columns}
        *finished, last = [_line(columns, row) for row in (header, *(rows[step] for step in steps))]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(self.path)
        partial.write_bytes(b"".join([*finished, last]))
        partial.replace(self.path)
        self._columns, self._rows = columns, rows
        self._keep_last(steps, sum(map(len, finished)))

    def _keep_last(self, steps: Sequence[int], finished_bytes: int) -> None:
        """Keep the last row in memory, and note that those before it are finished."""
        self._finished_bytes = finished_bytes
        self._finished_step = max([self._finished_step, *steps[:-1]])
        self._rows = {steps[-1]: self._rows[steps[-1]]}


def _line(columns: Sequence[str], row: Mapping[str, str]) -> bytes:
    """Return one line of the file; a metric without a value is an empty cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([row.get(name, "") for name in columns])
    return line.getvalue().encode()


def _parse(content: bytes) -> tuple[list[str], list[tuple[int, int, Row]]]:
    """Return the columns, and for every row its first byte, its step and its cells that are not empty.

    A last line without its end was cut short by a crash, and a line that does not fit the header is damaged. Both are
    passed over.
    """
    columns: list[str] = []
    rows: list[tuple[int, int, Row]] = []
    begin = 0
    for line in content.split(b"\n")[:-1]:
        cells = next(csv.reader([line.decode(errors="replace")]), [])
        row = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
        if not columns:
            columns = cells
        elif len(cells) == len(columns) and row.get(STEP, "").isdecimal():
            rows.append((begin, int(row[STEP]), row))
        begin += len(line) + 1
    return columns, rows


def read_rows(path: Path) -> dict[int, Row]:
    """Return the cells of a metrics.csv that are not empty, by step; nothing if there is no file."""
    content = path.read_bytes() if path.exists() else b""
    return {step: row for _, step, row in _parse(content)[1]}


def drop_rows_after(path: Path, step: int) -> None:
    """Remove the rows of a metrics.csv that are newer than a step; the file is never seen half-written."""
    content = path.read_bytes() if path.exists() else b""
    newer = [begin for begin, number, _ in _parse(content)[1] if number > step]
    if newer:
        partial = partial_path(path)
        partial.write_bytes(content[: min(newer)])
        partial.replace(path)


def read_columns(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Return the steps and values of every column of a metrics.csv.

    Raises:
        ValueError: naming the file and the cell, if a value is no number.
    """
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for step, row in sorted(read_rows(path).items()):
        for name, cell in row.items():
            if name != STEP:
                steps, values = columns.setdefault(name, ([], []))
                steps.append(step)
                values.append(_number(cell, f"{path}, step {step}: {name}"))
    return columns


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{where} must be a number; got {printable(cell)}") from None
