"""The files in which W&B keeps a run: records in the log format of LevelDB, one file for each part of the run.

wandb 0.31 has no reader of its own that Python can call. A part that was killed may end in the middle of a record.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_FILE_HEADER = 7
"""Bytes before the first block: a name, a number, the version of the format."""
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")
"""Header of a chunk: checksum, number of its bytes, which part of a record it is."""
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of a `.wandb` file, as wandb's protobuf messages; what is cut off at the end is left out.

    Args:
        path: The file.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    for _, content in _contents(path.read_bytes()):
        record = messages.Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            return
        yield record


def _contents(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the end and the bytes of every whole record."""
    begun, position = b"", _FILE_HEADER
    while position + _CHUNK.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _CHUNK.size:  # no chunk begins in the last bytes of a block
            position += left
            continue
        _, size, part = _CHUNK.unpack_from(data, position)
        begin = position + _CHUNK.size
        if part not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or begin + size > len(data):
            return
        chunk, position = data[begin : begin + size], begin + size
        begun = chunk if part in (_WHOLE, _FIRST) else begun + chunk
        if part in (_WHOLE, _LAST):
            yield position, begun


def wandb_parts(folder: Path, run_id: str) -> list[Path]:
    """Return the `.wandb` files of a run, the oldest part first.

    Args:
        folder: The folder in which W&B keeps its files.
        run_id: The id of the run.
    """
    parts = folder.glob(f"*run-*-{run_id}/run-{run_id}.wandb")
    return sorted(parts, key=lambda path: path.parent.name.removeprefix("offline-"))


def last_step(parts: Sequence[Path]) -> int:
    """Return the last step with values in the files of a run, -1 without any."""
    steps = (
        record.history.step.num
        for part in parts
        for record in wandb_records(part)
        if record.WhichOneof("record_type") == "history"
    )
    return max(steps, default=-1)


def mark_uploaded(parts: Sequence[Path]) -> None:
    """Have `wandb sync` leave files out, as it does with those that it has uploaded itself."""
    for part in parts:
        part.with_suffix(".wandb.synced").touch()


def mend(part: Path) -> None:
    """Cut a record off that a kill has left unfinished, since `wandb sync` stops there and leaves later parts out."""
    data = part.read_bytes()
    end = max((position for position, _ in _contents(data)), default=len(data))
    if end < len(data):
        with part.open("r+b") as file:
            file.truncate(end)
