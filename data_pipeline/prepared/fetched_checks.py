"""Checks of what was fetched from elsewhere: a DamagedError says that another attempt may help."""

from pathlib import Path

from data_pipeline.prepared.manifest import DamagedManifestError, Manifest
from data_pipeline.prepared.storage import DamagedError
from data_pipeline.tokenizers.tokenizer import read_tokenizer, tokenizer_sha256


def check_manifest(content: bytes) -> None:
    """Raise a DamagedError if another attempt may help; other faults are reported when the manifest is read."""
    try:
        Manifest.parse(content, "what came")
    except DamagedManifestError as error:
        raise DamagedError(str(error)) from error
    except ValueError:
        return


def check_tokenizer(path: Path, sha256: str, content: bytes) -> None:
    """Write a tokenizer to a path and check its hash."""
    path.write_bytes(content)
    try:
        found = tokenizer_sha256(read_tokenizer(path))
    except ValueError as error:
        raise DamagedError("what came is no tokenizer") from error
    if found != sha256:
        raise DamagedError("what came is not the tokenizer that the shards were made with")
