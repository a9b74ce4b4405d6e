"""What is kept of a session: a small JSON file for each step, and a few packed files that travel back."""

import ast
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CODE = ("bert_lightning", "data_pipeline", "conf")
MOST_FILES, MOST_BYTES = 8, 16 * 2**20
"""Limits on what travels back."""
LOG_BYTES = 2**20
Record = dict[str, Any]


def sources_digest(root: Path = ROOT) -> str:
    """Return a digest of the code and settings that figures depend on; docstrings, comments and layout do not count.

    Python 3.12 writes the same code in other words than 3.11, so digests compare under one version of Python.
    """
    digest = hashlib.sha256()
    paths = (path for folder in CODE for path in (root / folder).rglob("*") if path.suffix in (".py", ".yaml"))
    for path in sorted(paths):
        text = path.read_text(encoding="utf-8")
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update((_code(text) if path.suffix == ".py" else text).encode() + b"\0")
    return digest.hexdigest()[:16]


def _code(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def write(path: Path, record: Record) -> None:
    """Write a record so that a stop at any moment leaves the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(unfinished, path)


def read(folders: Iterable[Path]) -> list[tuple[Path, Record]]:
    """Return the records of steps in folders, in the order of their names; other JSON files are passed over."""
    found = []
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        record = json.loads(path.read_text())
        if isinstance(record, dict) and "step" in record:
            found.append((path, record))
    return found


def measured(folders: Iterable[Path], identity: Record) -> dict[tuple[str, tuple[str, ...]], Path]:
    """Return where the answers of finished steps lie, by name and settings.

    Args:
        folders: Where records may lie.
        identity: What must be the same: the card, the version of torch, the digest of the sources.
    """
    return {
        (record["step"], tuple(record["settings"])): path
        for path, record in read(folders)
        if record["ok"] and is_of(record, identity)
    }


def is_of(record: Record, identity: Record) -> bool:
    """Return whether a record was made with this card, this torch and this code."""
    return all(record.get(name) == value for name, value in identity.items())


def pack(results: Path, name: str, log: Path, table: str, out: Path) -> None:
    """Bring `out` up to date: all results in one archive below the folder `name`, the log's end, the table, traces."""
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / "results.tar.gz", lambda unfinished: _archive(results, name, unfinished))
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        end = file.read()
    _replace(out / "log.txt", lambda unfinished: unfinished.write_bytes(end))
    _replace(out / "table.md", lambda unfinished: unfinished.write_text(table))
    for trace in sorted(results.glob("*/trace.json.gz")):
        add(trace, out / f"trace-{trace.parent.name}.json.gz")


def _archive(results: Path, name: str, path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(results.rglob("*")):
            if file.is_file() and not file.name.startswith((".", "trace.json")):
                archive.add(file, f"{name}/{file.relative_to(results)}")


def _replace(path: Path, make: Any) -> None:
    unfinished = path.with_name(f"{path.name}.new")
    make(unfinished)
    os.replace(unfinished, path)


def add(file: Path, path: Path) -> bool:
    """Copy a file to what travels back if the limits leave room for it; returns whether they do."""
    others = [other for other in path.parent.iterdir() if other != path]
    has_room = len(others) < MOST_FILES and file.stat().st_size <= MOST_BYTES
    if has_room:
        _replace(path, lambda unfinished: shutil.copyfile(file, unfinished))
    return has_room


def add_kernels(kernels: Path, work: Path, out: Path) -> bool:
    """Pack the cache of compiled kernels for the next session, if it is small enough to travel."""
    if not kernels.is_dir():
        return False
    packed = work / "kernels.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(kernels, kernels.name)
    return add(packed, out / packed.name)
