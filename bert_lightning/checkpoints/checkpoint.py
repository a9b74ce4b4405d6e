"""What a checkpoint carries besides the training state, and finding and reading checkpoints of every kind.

A checkpoint is a file (single device, DDP) or a folder of shards (FSDP2). Either one is enough to resume, fine-tune or
export: it holds the model's sizes, the tokenizer and the resolved config as plain containers.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from bert_lightning.checkpoints import huggingface
from bert_lightning.checkpoints.integrity import damage
from bert_lightning.checkpoints.plain_pickle import load_plain
from bert_lightning.checkpoints.saved_state import OBJECTIVE_PREFIX, PAYLOAD_KEY, check_model
from bert_lightning.checkpoints.task_head import PREDICTION_HEAD, TaskHead
from bert_lightning.checkpoints.tensor_checks import HEADS, check_state, fusing_layers, reads_text
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.settings.finetuned_folder import best_checkpoint
from bert_lightning.settings.run_folder import META, RunFolder
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.tokenizers.tokenizer_files import read_tokenizer_files, write_tokenizer_files
from data_pipeline.untrusted.plain_files import has_file
from data_pipeline.untrusted.typed_fields import checked, entry, shown

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
CORPUS = "corpus"
"""Key of the payload under which the sources of the text are."""
HEAD = "head"
"""Key of the payload under which a fine-tuned model tells its head."""
MOST_UNUSED_ROWS = 1024
"""Most rows that a vocabulary is usually padded with. More are said, not refused: some published models have 20,000."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model out of a checkpoint.

    Attributes:
        config: The encoder's sizes.
        state: The tensors of the objective, by name; a Hugging Face folder may lack heads.
        tokenizer_files: The text of the tokenizer's files, by name; a Hugging Face folder may have none.
        head: The head of a fine-tuned model, None for a pre-trained one.
        settings: The resolved config of the run; a Hugging Face folder has none.
        corpus: Where the text came from, as `corpus_facts` gives it; older checkpoints and Hugging Face folders have
            none.
    """

    config: EncoderConfig
    state: dict[str, Tensor]
    tokenizer_files: dict[str, str]
    head: TaskHead | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    corpus: Mapping[str, Any] = field(default_factory=dict)

    @property
    def absent_heads(self) -> list[str]:
        """The heads of BERT's pre-training without weights; the head for pairs may be of either kind."""
        heads = [head for head in HEADS if not head.startswith(("sop_head", "rtd_head"))]
        return [head for head in heads if not any(map(self.state_of, (head, head.replace("nsp_", "sop_"))))]

    def state_of(self, module: str) -> dict[str, Tensor]:
        """Return the state of one module of the objective, such as `encoder`; empty if the module is absent.

        What an encoder has for entities is left out: without it, it is the encoder for texts without mentions.
        """
        prefix, state = f"{module}.", self.state.items()
        return {name.removeprefix(prefix): each for name, each in state if name.startswith(prefix) and reads_text(name)}

    @property
    def fusing_layers(self) -> list[int]:
        """The layers, from 1, that read entities beside the text in their training."""
        return [layer + 1 for layer in fusing_layers(self.state)]

    def pooler(self) -> dict[str, Tensor]:
        """Return the state of the pooler of the last layer, whatever head it belongs to; empty if there is none."""
        if self.head is not None and not self.head.reading.is_last:
            return {}
        states = (self.state_of(f"{head}pooler") for head in ("", "nsp_head.", "sop_head."))
        return next((state for state in states if state), {})

    def prediction_head(self) -> dict[str, Tensor]:
        """Return what a task's head begins with on an encoder without biases; empty if there is none.

        It is that of another task, or the layers before the scores of masked tokens, which ModernBERT's classes call by
        the same name.
        """
        if self.head is not None and self.head.reading.is_last:
            return self.state_of(PREDICTION_HEAD)
        if self.config.embedding_width != self.config.hidden_size:
            return {}
        parts = {"dense": self.state_of("mlm_head.transform"), "norm": self.state_of("mlm_head.norm")}
        return {f"{part}.{name}": each for part, state in parts.items() for name, each in state.items()}

    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer, which neither pads nor truncates.

        Raises:
            ValueError: if there is none, or it has more tokens than the model.
        """
        if not self.tokenizer_files:
            raise ValueError("the checkpoint carries no tokenizer")
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer_files(self.tokenizer_files, Path(folder))
            tokenizer = load_tokenizer(folder, is_causal=self.config.is_causal)
        size, rows = tokenizer.get_vocab_size(), self.config.vocab_size
        said = f"the checkpoint's tokenizer has {size} tokens, its model.vocab_size={rows}"
        if size > rows:
            raise ValueError(said)
        if rows - size > MOST_UNUSED_ROWS:
            log.warning("%s: is it the tokenizer of another model?", said)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer


def checkpoint_payload(
    config: EncoderConfig,
    tokenizer_files: Mapping[str, str],
    settings: Mapping[str, Any],
    head: TaskHead | None = None,
    corpus: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what is added to every checkpoint.

    Args:
        config: The encoder's sizes.
        tokenizer_files: The text of the tokenizer's files, by name.
        settings: The resolved config.
        head: The head of a task, None while pre-training.
        corpus: Where the text came from, as `corpus_facts` gives it.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "model": config.as_dict(),
        "tokenizer": dict(tokenizer_files),
        "config": dict(settings),
    }
    if corpus:
        content[CORPUS] = dict(corpus)
    if head is not None:
        content[HEAD] = head.as_dict()
    return {PAYLOAD_KEY: content}


def latest_checkpoint(run_dir: str | Path) -> Path | None:
    """Return the newest whole checkpoint of a run, None if there is none; one that is damaged is passed over."""
    for path in reversed(RunFolder(run_dir).saved()):
        if (problem := damage(path)) is None:
            return path
        log.warning("%s is damaged or was cut short; it is passed over: %s", path, problem)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint, a file or a folder, is as it was written; its whole content is read."""
    return damage(checkpoint) is None


def check_whole(checkpoint: Path) -> None:
    """Raise a ValueError that names a checkpoint and what is damaged in it, if it is not as it was written."""
    if problem := damage(checkpoint):
        raise ValueError(f"checkpoint={checkpoint} cannot be read, it is damaged or no checkpoint: {problem}")


def load_pretrained(path: str | Path) -> Pretrained:
    """Read a model.

    Args:
        path: A checkpoint file or folder; a run's folder, of which it is the newest whole checkpoint; a folder of
            bert-finetune, of which it is the best checkpoint; or a Hugging Face folder, which may lack heads:
            `Pretrained.absent_heads` says which.

    Raises:
        ValueError: if there is nothing of the kind, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"checkpoint={path} does not exist")
    if path.is_dir() and has_file(path, huggingface.CONFIG):
        return _read_huggingface(path)
    if path.is_dir() and not has_file(path, META):
        newest = best_checkpoint(path) or latest_checkpoint(path)
        if newest is None:
            raise ValueError(f"checkpoint={path} is neither a run with a whole checkpoint nor a Hugging Face folder")
        return _read_checkpoint(newest)
    check_whole(path)
    return _read_checkpoint(path)


def _read_huggingface(folder: Path) -> Pretrained:
    config, state, head = huggingface.read_folder(folder, optional=HEADS)
    return Pretrained(config, state, read_tokenizer_files(folder), head)


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Return the payload, the step and the loops of a checkpoint; tensors of a file are mapped, not read.

    Raises:
        ValueError: if it cannot be read or was not written by bert-pretrain.
    """
    content = load_plain(checkpoint / META if checkpoint.is_dir() else checkpoint, mmap=True)
    config, _ = _check_payload(content, checkpoint)
    head = saved_head(content, checkpoint)
    if not checkpoint.is_dir():
        objective_state(content, config, checkpoint, head)
    return content


def _check_payload(content: Mapping[str, Any], path: Path) -> tuple[EncoderConfig, dict[str, str]]:
    """Return sizes and tokenizer files of a checkpoint that this version reads."""
    where = f"checkpoint={path}"
    if PAYLOAD_KEY not in content:
        raise ValueError(f"{where} was not written by bert-pretrain: it has no {PAYLOAD_KEY!r} entry")
    payload = content[PAYLOAD_KEY]
    if (version := entry(payload, "format_version", where=where)) != FORMAT_VERSION:
        raise ValueError(f"{where} has format_version {shown(version)}, not {FORMAT_VERSION}")
    return check_model(payload, where)


def saved_head(content: Mapping[str, Any], path: Path) -> TaskHead | None:
    """Return the head of a checkpoint of a fine-tuned model, None if it is of a pre-trained one."""
    where = f"checkpoint={path}"
    return checked(content[PAYLOAD_KEY].get(HEAD), TaskHead | None, where, HEAD)


def objective_state(
    content: Mapping[str, Any], config: EncoderConfig, path: Path, head: TaskHead | None = None
) -> dict[str, Tensor]:
    """Return the tensors of the objective by name; ValueError if they are not those of the sizes."""
    where = f"checkpoint={path}"
    saved = checked(entry(content, "state_dict", where=where), dict[str, object], where, "state_dict")
    prefix = OBJECTIVE_PREFIX
    state = {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
    if head is not None:
        head.reading.check(config)
    check_state(state, config, where, head)
    return state


def _read_checkpoint(path: Path) -> Pretrained:
    content = read_checkpoint(path, with_optimizer=False)
    config, tokenizer_files = _check_payload(content, path)
    head = saved_head(content, path)
    settings = checked(content[PAYLOAD_KEY].get("config", {}), dict[str, object], f"checkpoint={path}", "config")
    corpus = checked(content[PAYLOAD_KEY].get(CORPUS, {}), dict[str, object], f"checkpoint={path}", CORPUS)
    return Pretrained(config, objective_state(content, config, path, head), tokenizer_files, head, settings, corpus)


def read_checkpoint(path: Path, with_optimizer: bool = True) -> dict[str, Any]:
    """Return the content of a checkpoint file, or of a folder as the file of the same run would hold it."""
    if not path.is_dir():
        return load_plain(path)
    from bert_lightning.checkpoints.sharded_checkpoint import read_folder  # slow to import, and only folders need it

    return read_folder(path, with_optimizer)
