"""What a checkpoint carries besides the training state, and finding and reading checkpoints of every kind.

A checkpoint is a file (single device, DDP) or a folder of shards (FSDP2). Either one is enough to resume, fine-tune or
export: it holds the model's sizes, the tokenizer and the resolved config as plain containers.
"""

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from bert_lightning import huggingface
from bert_lightning.encoder import EncoderConfig

PAYLOAD_KEY = "bert_lightning"
FORMAT_VERSION = 1
CHECKPOINTS = "checkpoints"
_PREFIX = "objective."


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model out of a checkpoint.

    Attributes:
        config: Its sizes.
        state: The tensors of its objective, by name; a Hugging Face folder may lack heads.
        tokenizer_files: The text of the tokenizer's files, by name.
    """

    config: EncoderConfig
    state: dict[str, Tensor]
    tokenizer_files: dict[str, str]


def checkpoint_payload(config: EncoderConfig, tokenizer: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is added to every checkpoint: sizes, the files of the tokenizer's folder, the resolved config."""
    files = {file.name: file.read_text(encoding="utf-8") for file in sorted(tokenizer.iterdir())}
    content = {
        "format_version": FORMAT_VERSION,
        "model": config.as_dict(),
        "tokenizer": files,
        "config": dict(settings),
    }
    return {PAYLOAD_KEY: content}


def latest_checkpoint(run_dir: str | Path) -> Path | None:
    """Return the newest whole checkpoint of a run, None where there is none; one that was cut short is passed over."""
    folder = Path(run_dir) / CHECKPOINTS
    found = sorted(folder.glob("step-*.ckpt"), reverse=True) if folder.is_dir() else []
    return next((path for path in found if is_whole(path)), None)


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end: a zip file with its directory, or a folder with its metadata."""
    if checkpoint.is_dir():
        return (checkpoint / ".metadata").is_file() and (checkpoint / "meta.pt").is_file()
    return zipfile.is_zipfile(checkpoint)


def load_pretrained(path: str | Path) -> Pretrained:
    """Read a model.

    Args:
        path: A checkpoint file or folder, a run's folder (its newest whole checkpoint), or a Hugging Face folder.

    Raises:
        ValueError: where there is nothing of the kind.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"checkpoint={path} does not exist")
    if (path / huggingface.CONFIG).is_file():
        config, state = huggingface.read_folder(path)
        names = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
        files = {name: (path / name).read_text(encoding="utf-8") for name in names if (path / name).is_file()}
        return Pretrained(config, state, files)
    if path.is_dir() and not is_whole(path):
        newest = latest_checkpoint(path)
        if newest is None:
            raise ValueError(f"checkpoint={path} is neither a run with a whole checkpoint nor a Hugging Face folder")
        path = newest
    return _read_checkpoint(path)


def _read_checkpoint(path: Path) -> Pretrained:
    try:
        content = _read_sharded(path) if path.is_dir() else _read_tensors(path)
    except (RuntimeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint={path} cannot be read: {error}") from error
    payload = content.get(PAYLOAD_KEY)
    if payload is None:
        raise ValueError(f"checkpoint={path} was not written by bert-pretrain: it has no {PAYLOAD_KEY!r} entry")
    if payload["format_version"] != FORMAT_VERSION:
        raise ValueError(f"checkpoint={path} has format_version {payload['format_version']}, not {FORMAT_VERSION}")
    state = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    return Pretrained(EncoderConfig(**payload["model"]), state, payload["tokenizer"])


def _read_tensors(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_sharded(folder: Path) -> dict[str, Any]:
    """Put the shards of a torch.distributed.checkpoint folder together, in one process."""
    with tempfile.TemporaryDirectory() as temporary:
        joined = Path(temporary) / "joined.pt"
        dcp_to_torch_save(folder, joined)
        return {**_read_tensors(folder / "meta.pt"), **_read_tensors(joined)}
