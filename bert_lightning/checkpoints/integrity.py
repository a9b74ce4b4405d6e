"""Whether a checkpoint is as it was written: flipped bits, holes and cut ends are found before anything is used.

What torch.save writes is a zip file, which carries a CRC-32 of every record; torch writes it and does not look at it.
A folder of shards is many such zip files, one after another in a few files, and metadata that says where each begins;
the hash of the metadata is kept beside it.
"""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from bert_lightning.checkpoints.folder_files import MAX_METADATA_BYTES, METADATA, METADATA_SHA256
from bert_lightning.settings.run_folder import META
from data_pipeline.untrusted.plain_files import has_file, plain_file, read_plain

PIECE_BYTES = 1 << 20
_DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, a file or a folder, in one line; None if it is as it was written.

    The whole content is read once.
    """
    try:
        if checkpoint.is_dir():
            _check_folder(checkpoint)
        else:
            _check_file(checkpoint)
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    return None


def note_metadata(folder: Path) -> None:
    """Write the hash of a folder's metadata beside it, once the metadata is written."""
    with (folder / METADATA_SHA256).open("w", encoding="utf-8") as file:
        file.write(f"{hashlib.sha256((folder / METADATA).read_bytes()).hexdigest()}\n")
        file.flush()
        os.fsync(file.fileno())


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        _check_zip(file, path.name, path.stat().st_size)


def _check_folder(folder: Path) -> None:
    from bert_lightning.checkpoints.plain_checkpoint import PlainReader  # slow to import, and only folders need it

    if has_file(folder, METADATA_SHA256):
        found = hashlib.sha256(read_plain(folder, METADATA, MAX_METADATA_BYTES)).hexdigest()
        if read_plain(folder, METADATA_SHA256, 100).decode(errors="replace").strip() != found:
            raise ValueError(f"{METADATA} is not the one whose hash is in {METADATA_SHA256}")
    _check_file(plain_file(folder, META))
    parts = {(p.relative_path, p.offset, p.length) for p in PlainReader(folder).read_metadata().storage_data.values()}
    for name, offset, length in sorted(parts):
        with plain_file(folder, name).open("rb") as file:
            _check_zip(_Section(file, offset, length), name, length)


def _check_zip(file: io.BufferedIOBase | BinaryIO, name: str, length: int) -> None:
    """Compare every record of a zip file with its CRC-32."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if not records:
            raise ValueError(f"{name} is an empty archive")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError(f"{name} holds compressed records, which torch does not write")
        if sum(record.file_size for record in records) > length:
            raise ValueError(f"{name} claims more bytes than it has")
        for record in records:
            try:
                with archive.open(record) as content:
                    while content.read(PIECE_BYTES):
                        pass
            except _DAMAGE as error:
                raise ValueError(f"record {record.filename!r} of {name} is damaged: {error}") from error


class _Section(io.BufferedIOBase):
    """A part of a file as a file by itself."""

    def __init__(self, file: BinaryIO, begin: int, length: int) -> None:
        self._file = file
        self._begin = begin
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("a position before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._length - self._position)
        self._file.seek(self._begin + self._position)
        content = self._file.read(left if size is None or size < 0 else min(size, left))
        self._position += len(content)
        return content
