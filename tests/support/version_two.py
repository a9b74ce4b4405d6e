"""Prepared folders as format version 2 had them, for the tests that they can still be read."""

import hashlib
import json
import shutil
from pathlib import Path

SHARD_KEYS = ("name", "bytes", "sha256", "blocks", "documents", "sentences", "tokens", "source")
MANIFEST_KEYS = ("tokenizer_sha256", "vocab_size", "settings", "sources", "splits")


def write_version_two(prepared: Path, folder: Path) -> Path:
    """Copy a prepared folder without what came with version 3, and write its manifest as version 2 did."""
    shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns("*.lengths", "*.hashes", "index", "manifest.json"))
    now = json.loads((prepared / "manifest.json").read_text())
    content = {key: now[key] for key in MANIFEST_KEYS}
    content["splits"] = {
        split: [{key: shard[key] for key in SHARD_KEYS} for shard in shards] for split, shards in now["splits"].items()
    }
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"format_version": 2, "sha256": checksum, **content}, indent=1))
    return folder
