"""Files that the manifest lists are checked by their hash before anything in them is believed."""

import hashlib


def checked_content(content: bytes, where: str, sha256: str) -> bytes:
    """Return the content of a file whose sha256 the manifest gives; ValueError naming the file if it has another."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"file {where} was altered: its sha256 is not the one in the manifest")
    return content
