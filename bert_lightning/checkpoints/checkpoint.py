"""What a checkpoint carries besides the training state, and finding and reading checkpoints of every kind.

A checkpoint is a file (single device, DDP) or a folder of shards (FSDP2). Either one is enough to resume, fine-tune or
export: it holds the model's sizes, the tokenizer and the resolved config as plain containers.
"""

import json
import logging
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from bert_lightning.checkpoints import huggingface
from bert_lightning.models.encoder import EncoderConfig
from bert_lightning.settings.run_folder import META, RunFolder
from data_pipeline.tokenizers.tokenizer import load_tokenizer

log = logging.getLogger(__name__)
PAYLOAD_KEY = "bert_lightning"
FORMAT_VERSION = 1
STREAM = "stream"
"""Key of the payload under which the position in the training stream is."""
_PREFIX = "objective."


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model out of a checkpoint.

    Attributes:
        config: Its sizes.
        state: The tensors of its objective, by name; a Hugging Face folder may lack heads.
        tokenizer_files: The text of the tokenizer's files, by name; a Hugging Face folder may have none.
    """

    config: EncoderConfig
    state: dict[str, Tensor]
    tokenizer_files: dict[str, str]

    @property
    def absent_heads(self) -> list[str]:
        """Those heads of BERT that the checkpoint has no weights for."""
        return [head for head in huggingface.HEADS if not self.state_of(head)]

    def state_of(self, module: str) -> dict[str, Tensor]:
        """Return the state of one module of the objective, such as `encoder`; empty where it is absent."""
        prefix = f"{module}."
        return {name.removeprefix(prefix): tensor for name, tensor in self.state.items() if name.startswith(prefix)}

    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer, which neither pads nor truncates.

        Raises:
            ValueError: where there is none, or it has more tokens than the model.
        """
        if not self.tokenizer_files:
            raise ValueError("the checkpoint carries no tokenizer")
        settings = json.loads(self.tokenizer_files.get("tokenizer_config.json", "{}"))
        with tempfile.TemporaryDirectory() as folder:
            for name, text in self.tokenizer_files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            tokenizer = load_tokenizer(folder, lowercase=settings.get("do_lower_case", True))
        if tokenizer.get_vocab_size() > self.config.vocab_size:
            raise ValueError(
                f"the checkpoint's tokenizer has {tokenizer.get_vocab_size()} tokens, "
                f"its model.vocab_size={self.config.vocab_size}"
            )
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer


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
    """Return the newest whole checkpoint of a run, None if there is none; one that was cut short is passed over."""
    for path in reversed(RunFolder(run_dir).saved()):
        if is_whole(path):
            return path
        log.warning("%s is damaged or was cut short; it is passed over", path)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is there to its end: a zip file with its directory, or a folder with all its shards."""
    try:
        if checkpoint.is_dir():
            return _has_its_shards(checkpoint)
        with zipfile.ZipFile(checkpoint) as archive:  # the directory is what is written last
            return bool(archive.namelist())
    except Exception:  # whatever reading a damaged pickle ends in
        return False


def _has_its_shards(folder: Path) -> bool:
    """Tell whether every file that the metadata of a sharded checkpoint names is as long as it must be."""
    from bert_lightning.checkpoints.sharded_checkpoint import least_sizes  # slow to import, and only folders need it

    return is_whole(folder / META) and all(file.stat().st_size >= size for file, size in least_sizes(folder).items())


def load_pretrained(path: str | Path) -> Pretrained:
    """Read a model.

    Args:
        path: A checkpoint file or folder, a run's folder (its newest whole checkpoint), or a Hugging Face folder, which
            may lack heads: `Pretrained.absent_heads` says which.

    Raises:
        ValueError: where there is nothing of the kind.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"checkpoint={path} does not exist")
    if (path / huggingface.CONFIG).is_file():
        return _read_huggingface(path)
    if path.is_dir() and not is_whole(path):
        newest = latest_checkpoint(path)
        if newest is None:
            raise ValueError(f"checkpoint={path} is neither a run with a whole checkpoint nor a Hugging Face folder")
        path = newest
    return _read_checkpoint(path)


def _read_huggingface(folder: Path) -> Pretrained:
    config, state = huggingface.read_folder(folder, optional=huggingface.HEADS)
    names = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
    files = {name: (folder / name).read_text(encoding="utf-8") for name in names if (folder / name).is_file()}
    pretrained = Pretrained(config, state, files)
    if pretrained.absent_heads:
        log.info("%s has no %s", folder, ", ".join(pretrained.absent_heads))
    return pretrained


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself: its payload, step and loops; tensors of a file are mapped, not read.

    Raises:
        ValueError: where it cannot be read or was not written by bert-pretrain.
    """
    try:
        file = checkpoint / META if checkpoint.is_dir() else checkpoint
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint={checkpoint} cannot be read: it is damaged or not a checkpoint") from error
    _check_payload(content, checkpoint)
    return content


def stream_position(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of the training stream out of the content of a checkpoint.

    Checkpoints of version 0.1 have it in the state of Lightning's loops only. Their format_version is the same, because
    nothing else differs: those versions read newer checkpoints too.
    """
    payload = content.get(PAYLOAD_KEY, {})
    if STREAM in payload:
        return payload[STREAM]
    return content["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]


def _check_payload(content: Any, path: Path) -> None:
    """Raise a ValueError if a checkpoint was not written by a version of bert-pretrain that this one understands."""
    payload = content.get(PAYLOAD_KEY) if isinstance(content, dict) else None
    if payload is None:
        raise ValueError(f"checkpoint={path} was not written by bert-pretrain: it has no {PAYLOAD_KEY!r} entry")
    if payload["format_version"] != FORMAT_VERSION:
        raise ValueError(f"checkpoint={path} has format_version {payload['format_version']}, not {FORMAT_VERSION}")


def _read_checkpoint(path: Path) -> Pretrained:
    try:
        content = read_checkpoint(path, with_optimizer=False)
    except pickle.UnpicklingError as error:  # torch's own message advises to run whatever is in the file
        raise ValueError(
            f"checkpoint={path} cannot be read: it holds more than tensors and plain containers"
        ) from error
    except (RuntimeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint={path} cannot be read: {error}") from error
    _check_payload(content, path)
    payload = content[PAYLOAD_KEY]
    state = {
        name.removeprefix(_PREFIX): tensor for name, tensor in content["state_dict"].items() if name.startswith(_PREFIX)
    }
    return Pretrained(EncoderConfig(**payload["model"]), state, payload["tokenizer"])


def read_checkpoint(path: Path, with_optimizer: bool = True) -> dict[str, Any]:
    """Return the content of a checkpoint file, or of a folder as the file of the same run would hold it."""
    if not path.is_dir():
        return torch.load(path, map_location="cpu", weights_only=True)
    from bert_lightning.checkpoints.sharded_checkpoint import read_folder  # slow to import, and only folders need it

    return read_folder(path, with_optimizer)
