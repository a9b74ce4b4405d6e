"""Hashes that tell whether input files are still what they were."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def sha256_of_files(files: Sequence[Path]) -> str:
    """Return one hash of the names and contents of files; reading them costs far less than preparing them."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        hashes = list(threads.map(_sha256, files))
    listed = [[str(file), content] for file, content in zip(files, hashes, strict=True)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
