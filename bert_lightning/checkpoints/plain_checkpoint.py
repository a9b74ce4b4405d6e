"""Reading folders of torch.distributed.checkpoint without running what is in them.

torch reads a folder's metadata and all its plain values with pickle, which runs whatever is in a file. Here both are
read with the names of a few known types only.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem

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


class MetadataUnpickler(pickle.Unpickler):
    """Unpickle metadata; UnpicklingError if it names anything but the types of metadata."""

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
    """Read a folder whose metadata holds nothing but metadata."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return the metadata; UnpicklingError if it names anything else."""
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata: Metadata = MetadataUnpickler(file).load()
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


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
