"""Reading folders of torch.distributed.checkpoint without running what is in them, and without leaving them.

torch reads a folder's metadata and all its plain values with pickle, which runs whatever is in a file. Here both are
read with the names of their own types only, and metadata may not claim more than the folder holds.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    Metadata,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem

from bert_lightning.checkpoints.folder_files import MAX_METADATA_BYTES, METADATA
from bert_lightning.checkpoints.plain_pickle import reading
from data_pipeline.untrusted.plain_files import plain_file, read_plain
from data_pipeline.untrusted.typed_fields import checked, whole_number

_METADATA_TYPES = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"} | {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    "pathlib": {"PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
}


def _memory_format(kind: Any, name: str) -> Any:
    """Return the member of an enum that Python before 3.11.4 writes as getattr(its class, its name)."""
    if kind is not _MEM_FORMAT_ENCODING:
        raise pickle.UnpicklingError(
            f"the metadata of a checkpoint takes {name} of {kind}, which does not belong there"
        )
    return kind[name]


class MetadataUnpickler(pickle._Unpickler):
    """Unpickle metadata; UnpicklingError if it names anything but its own types.

    The unpickler in C would make room for as many objects as a file claims to remember.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the types of `_METADATA_TYPES`."""
        if (module, name) == ("builtins", "getattr"):
            return _memory_format
        if name not in _METADATA_TYPES.get(module, ()):
            raise pickle.UnpicklingError(
                f"the metadata of a checkpoint names {module}.{name}, which does not belong there"
            )
        return super().find_class(module, name)


class PlainReader(FileSystemReader):
    """Read a folder whose metadata holds nothing but metadata, about files of this folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return the metadata.

        Raises:
            ValueError: naming the file, if it is damaged, names other types, or claims what the folder does not hold.
        """
        folder = Path(self.path)
        content = read_plain(folder, METADATA, MAX_METADATA_BYTES)
        with reading(folder / METADATA):
            metadata: Metadata = MetadataUnpickler(io.BytesIO(content)).load()
            _check_metadata(metadata, folder)
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def _check_metadata(metadata: object, folder: Path) -> None:
    """Check that metadata speaks of plain files of its folder and of no more numbers than are in them."""
    if not isinstance(metadata, Metadata):
        raise ValueError("it holds no metadata")
    lengths: dict[str, int] = {}
    for part in checked(metadata.storage_data, dict, METADATA, "storage_data").values():
        if getattr(part, "transform_descriptors", None):
            raise ValueError("it describes compressed tensors, which bert-pretrain does not write")
        name = checked(part.relative_path, str, METADATA, "relative_path")
        if name not in lengths:
            lengths[name] = plain_file(folder, name).stat().st_size
        end = whole_number(part.offset, METADATA, "offset") + whole_number(part.length, METADATA, "length")
        if end > lengths[name]:
            raise ValueError(f"{name} has {lengths[name]} bytes, not the {end} that it says")
    claimed = sum(_bytes_of(value) for value in metadata.state_dict_metadata.values())
    if claimed > sum(lengths.values()):
        raise ValueError(f"it claims {claimed} bytes of numbers, its files have {sum(lengths.values())}")


def _bytes_of(value: object) -> int:
    """Return how many bytes a value of the state takes by its metadata; what is not a tensor counts as none."""
    if isinstance(value, BytesStorageMetadata):
        return 0
    if not isinstance(value, TensorStorageMetadata):
        raise ValueError("it describes something that is neither a tensor nor a plain value")
    sizes = [whole_number(size, METADATA, "size") for size in value.size]
    return math.prod(sizes) * value.properties.dtype.itemsize


class _PlainValues:
    """Read values that are not tensors as plain containers."""

    original_state_dict: dict[str, Any]
    mappings: dict[str, Any]

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put a value into the state."""
        path = self.mappings[read_item.dest_index.fqn]
        set_element(self.original_state_dict, path, torch.load(value, weights_only=True))


class IntoState(_PlainValues, DefaultLoadPlanner):
    """Load into the tensors of a state that exists."""


class IntoNothing(_PlainValues, _EmptyStateDictLoadPlanner):
    """Load whole tensors into an empty state."""


def saved_tensors(folder: Path, part: str = "state_dict") -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a part of the state, by name; nothing but the metadata is read."""
    found = PlainReader(folder).read_metadata().state_dict_metadata
    return {
        name.removeprefix(f"{part}."): tuple(about.size)
        for name, about in found.items()
        if name.startswith(f"{part}.") and isinstance(about, TensorStorageMetadata)
    }
