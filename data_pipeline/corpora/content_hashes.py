"""Hashes that show whether input files have changed."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_pipeline.processes.processors import num_processors


def sha256_of_files(files: Mapping[str, Path]) -> str:
    """Return one hash of the names and contents of files; hashing costs far less than preparing them."""
    with ThreadPoolExecutor(min(8, num_processors())) as threads:
        hashes = list(threads.map(_sha256, files.values()))
    return hashlib.sha256(json.dumps(list(zip(files, hashes, strict=True))).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
