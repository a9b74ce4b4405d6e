"""Metadata of a checkpoint is read as metadata, as every version of Python writes it, and as nothing else."""

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta

from bert_lightning.checkpoints.checkpoint import latest_checkpoint, load_pretrained
from bert_lightning.checkpoints.plain_checkpoint import MetadataUnpickler, PlainReader
from tests.support.checkpoints import write_sharded_checkpoint


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


def change_metadata(folder: Path, change: Callable[[Metadata], object]) -> None:
    """Read the metadata of a folder, change it and write it back."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def point_to(metadata: Metadata, **fields: object) -> None:
    """Say something else of every part of a tensor."""
    metadata.storage_data = {index: replace(part, **fields) for index, part in metadata.storage_data.items()}


def enlarge(metadata: Metadata) -> None:
    for value in metadata.state_dict_metadata.values():
        value.size = torch.Size([10**12])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: point_to(m, relative_path="../outside.distcp"), "is not the name of a file inside it"),
        (lambda m: point_to(m, relative_path="/etc/passwd"), "is not the name of a file inside it"),
        (lambda m: point_to(m, relative_path="link"), "is a link to"),
        (lambda m: point_to(m, relative_path=7), "has relative_path=7, which must be text"),
        (lambda m: point_to(m, length=10**12), "bytes, not the 10+"),
        (lambda m: point_to(m, offset=-1), "has offset=-1"),
        (lambda m: point_to(m, transform_descriptors=["stream.zstd"]), "compressed tensors"),
        (enlarge, r"claims \d+ bytes of numbers, its files have \d+"),
        (lambda m: setattr(m, "storage_data", []), r"has storage_data=\[\]"),
        (lambda m: setattr(m, "state_dict_metadata", {"x": 7}), "neither a tensor nor a plain value"),
    ],
)
def test_metadata_speaks_of_its_folder_only(
    tmp_path: Path, tokenizer: Tokenizer, change: Callable[[Metadata], object], said: str
) -> None:
    folder = tmp_path / "checkpoints" / "step-0000007.ckpt"
    write_sharded_checkpoint(folder, tokenizer, tmp_path / "tokenizer")
    data = next(folder.glob("*.distcp"))
    (tmp_path / "outside.distcp").write_bytes(data.read_bytes())
    (folder / "link").symlink_to(tmp_path / "outside.distcp")
    assert PlainReader(folder).read_metadata().storage_data
    change_metadata(folder, change)
    with pytest.raises(ValueError, match=rf"\.metadata cannot be read: .*{said}"):
        PlainReader(folder).read_metadata()
    with pytest.raises(ValueError, match=said):
        load_pretrained(folder)
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04N.",
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x00.",
        b"0" * 99,
    ],
)
def test_pickles_without_sense_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(ValueError, match=r"\.metadata cannot be read: "):
        PlainReader(tmp_path).read_metadata()
