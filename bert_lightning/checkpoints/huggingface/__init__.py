"""Hugging Face folders of BERT and its relatives, by name, without transformers: one module for each family."""

from bert_lightning.checkpoints.huggingface.bert import BERT
from bert_lightning.checkpoints.huggingface.electra import ELECTRA
from bert_lightning.checkpoints.huggingface.families import architecture, family_of
from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.folders import (
    CONFIG,
    from_config_json,
    read_folder,
    to_config_json,
    write_folder,
)
from bert_lightning.checkpoints.huggingface.weights import from_huggingface, to_huggingface

__all__ = [
    "BERT",
    "CONFIG",
    "ELECTRA",
    "Family",
    "architecture",
    "family_of",
    "from_config_json",
    "from_huggingface",
    "read_folder",
    "to_config_json",
    "to_huggingface",
    "write_folder",
]
