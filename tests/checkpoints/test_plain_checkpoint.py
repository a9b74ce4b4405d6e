"""Metadata of a checkpoint is read as metadata, as every version of Python writes it, and as nothing else."""

import io
import pickle
from typing import Any

import pytest
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, StorageMeta

from bert_lightning.checkpoints.plain_checkpoint import MetadataUnpickler


class Attribute:
    """Pickled as getattr(owner, name), which is how Python before 3.11.4 pickles the member of an enum."""

    def __init__(self, owner: Any, name: str) -> None:
        self.call = (getattr, (owner, name))

    def __reduce__(self) -> Any:
        return self.call


def read(value: object) -> object:
    return MetadataUnpickler(io.BytesIO(pickle.dumps(value))).load()


@pytest.mark.parametrize("member", list(_MEM_FORMAT_ENCODING))
def test_memory_formats_are_read_however_they_were_written(member: _MEM_FORMAT_ENCODING) -> None:
    assert read(member) is member
    assert read(Attribute(_MEM_FORMAT_ENCODING, member.name)) is member


@pytest.mark.parametrize(
    "value",
    [Attribute(StorageMeta, "__init__"), Attribute(_MEM_FORMAT_ENCODING, "mro"), getattr, print],
    ids=["another_class", "no_member", "getattr", "print"],
)
def test_nothing_else_is_reached(value: object) -> None:
    with pytest.raises((pickle.UnpicklingError, KeyError)):
        read({"x": value} if isinstance(value, Attribute) else Attribute(value, "__self__"))
