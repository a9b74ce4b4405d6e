"""The families that Hugging Face folders are read and written for, and which of them a model belongs to."""

from collections.abc import Collection, Mapping
from typing import Any

from bert_lightning.checkpoints.huggingface.albert import ALBERT
from bert_lightning.checkpoints.huggingface.bert import BERT
from bert_lightning.checkpoints.huggingface.distilbert import DISTILBERT
from bert_lightning.checkpoints.huggingface.electra import ELECTRA
from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.gpt2 import GPT2, OPENAI_GPT
from bert_lightning.checkpoints.huggingface.modernbert import MODERNBERT
from bert_lightning.checkpoints.huggingface.roberta import ROBERTA
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.untrusted.typed_fields import shown

FAMILIES: tuple[Family, ...] = (BERT, DISTILBERT, ROBERTA, ELECTRA, ALBERT, MODERNBERT, OPENAI_GPT, GPT2)
"""The families; a model is written as one of the first that can hold it."""


def family_of(
    config: EncoderConfig, modules: Collection[str] = (), head: TaskHead | None = None, wanted: Family | None = None
) -> Family:
    """Return the family that a model is written as.

    Args:
        config: The encoder's sizes.
        modules: Names of the model's tensors.
        head: The head of a fine-tuned model, None for a pre-trained one.
        wanted: The family; None for the first that can hold the model.

    Raises:
        ValueError: naming what the classes of the family, or of the nearest one, do not have.
    """
    nearest = wanted or min(FAMILIES, key=lambda family: len(family.objections(config, modules, head)))
    nearest.check(config, modules, head)
    return nearest


def architecture(config: EncoderConfig, modules: Collection[str], head: TaskHead | None = None) -> str:
    """Return the class of transformers that loads a model.

    Args:
        config: The encoder's sizes.
        modules: Names of the model's tensors.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: naming what no class of transformers has.
    """
    return family_of(config, modules, head).architecture(modules, head)


def named_family(content: Mapping[str, Any], where: str) -> Family:
    """Return the family that a config.json names.

    Args:
        content: The object in the file.
        where: The file, for errors.

    Raises:
        ValueError: if it cannot be read.
    """
    model_type = content.get("model_type")
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise ValueError(f"{where} is of model_type={shown(model_type)}; only {known} can be read")
