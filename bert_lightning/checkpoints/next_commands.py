"""Commands to type next: those that work for a model of its kind, after it was trained and after it was exported."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from bert_lightning.checkpoints.checkpoint import Pretrained
from bert_lightning.checkpoints.electra_halves import GENERATOR_FOLDER
from bert_lightning.checkpoints.huggingface import architecture
from bert_lightning.checkpoints.task_head import (
    MULTIPLE_CHOICE,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)
from bert_lightning.checkpoints.tensor_checks import has_any
from bert_lightning.checkpoints.trained_task import trained_on_pairs
from data_pipeline.pairs.pair_labels import PAIR_LABELS

_PAIR = "text='He went to the shop.' text_pair='It was closed.'"
_ASKED = {
    SEQUENCE_CLASSIFICATION: "text='What a charming film.'",
    TOKEN_CLASSIFICATION: "text='What a charming film.'",
    QUESTION_ANSWERING: "text='It lies on the Aare.' question='What river is it on?'",
    MULTIPLE_CHOICE: "text='He opens the door.' choices='[He walks in.,The door is blue.]'",
}
"""What a fine-tuned model is asked, by the kind of its head."""


def after_training(model: Pretrained, run: str | Path) -> list[str]:
    """Return the commands for a run: to ask its model, to fine-tune a pre-trained one, and to export it.

    Args:
        model: The model; the names of its tensors say which heads it has.
        run: Folder of the run.
    """
    lines = [_question(model, run)]
    lines += [_finetune(run)] if model.head is None else []
    return lines + ([f"bert-export {_checkpoint(run)} output_dir={_word(f'{run}-hf')}"] if _has_class(model) else [])


def after_export(model: Pretrained, folder: str | Path) -> list[str]:
    """Return the commands for an export: to ask the model, and to measure or to fine-tune a pre-trained one.

    Args:
        model: The model, before its export.
        folder: The folder that was written.
    """
    has_generator = has_any(model.state, "generator_head")
    lines = [_question(model, Path(folder) / GENERATOR_FOLDER if has_generator else folder)]
    if model.head is None:
        predicts_tokens = model.config.is_causal or has_any(model.state, "mlm_head")
        lines.append(_evaluate(model, folder) if predicts_tokens else _finetune(folder))
    return lines


def _question(model: Pretrained, folder: str | Path) -> str:
    """Return the command that asks a model what it was trained to answer; if that is nothing, it gives vectors."""
    checkpoint = _checkpoint(folder)
    if model.head is not None:
        is_pair = model.head.kind == SEQUENCE_CLASSIFICATION and trained_on_pairs(model)
        return f"bert-predict {checkpoint} {_PAIR if is_pair else _ASKED[model.head.kind]}"
    if model.config.is_causal:
        return f"bert-generate {checkpoint} prompt='The history of'"
    if any(has_any(model.state, head) for head in ("mlm_head", "generator_head")):
        return f"bert-fill-mask {checkpoint} text='The [MASK] of the city is in the north.'"
    if any(has_any(model.state, f"{pair}_head.classifier") for pair in PAIR_LABELS):
        return f"bert-predict {checkpoint} {_PAIR}"
    return f"bert-embed {checkpoint} text='A man plays the guitar.' output=vectors.npy"


def _finetune(folder: str | Path) -> str:
    return f"bert-finetune {_checkpoint(folder)} task=<name> task.path=<folder>"


def _evaluate(model: Pretrained, folder: str | Path) -> str:
    """Return the command that measures held-out losses, on the data and at the length of the model's run if known."""
    data = model.settings.get("data")
    path, seq_len = (data.get(name) for name in ("path", "seq_len")) if isinstance(data, Mapping) else (None, None)
    where = _word(path) if isinstance(path, str) and Path(path).is_dir() else "<prepared folder>"
    length = f" data.seq_len={seq_len}" if isinstance(seq_len, int) else ""
    return f"bert-evaluate {_checkpoint(folder)} data.path={where}{length}"


def _has_class(model: Pretrained) -> bool:
    """Return whether transformers has a class for a model."""
    try:
        architecture(model.config, model.state, model.head)
    except ValueError:
        return False
    return True


def _checkpoint(folder: str | Path) -> str:
    return f"checkpoint={_word(folder)}"


def _word(value: object) -> str:
    return shlex.quote(str(value))
