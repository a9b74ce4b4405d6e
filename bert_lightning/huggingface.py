"""Weights and sizes to and from Hugging Face folders, by name, without transformers.

Both ways are strict: a tensor without a counterpart is an error that names it. Query, key and value are one matrix here and
three there; the padded rows of the vocabulary exist here only; the decoder is the token table on both sides.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bert_lightning.encoder import EncoderConfig

_OURS_TO_THEIRS = {
    "encoder.embeddings.token": "bert.embeddings.word_embeddings",
    "encoder.embeddings.position": "bert.embeddings.position_embeddings",
    "encoder.embeddings.segment": "bert.embeddings.token_type_embeddings",
    "encoder.embeddings.norm": "bert.embeddings.LayerNorm",
    "nsp_head.pooler.dense": "bert.pooler.dense",
    "nsp_head.classifier": "cls.seq_relationship",
    "mlm_head.transform": "cls.predictions.transform.dense",
    "mlm_head.norm": "cls.predictions.transform.LayerNorm",
    "mlm_head": "cls.predictions",
}
_LAYER_TO_THEIRS = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
_QKV = ("query", "key", "value")
_TOKEN_TABLE = "bert.embeddings.word_embeddings.weight"
_COPIES = {"cls.predictions.decoder.weight": _TOKEN_TABLE, "cls.predictions.decoder.bias": "cls.predictions.bias"}
_BUFFERS = {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def _names(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Return the tensors of MaskedLMWithNSP, each with those of BertForPreTraining it is made of, in order."""
    modules: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in _OURS_TO_THEIRS.items()}
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{layer}", f"bert.encoder.layer.{layer}"
        modules |= {f"{ours}.{name}": (f"{theirs}.{other}",) for name, other in _LAYER_TO_THEIRS.items()}
        modules[f"{ours}.attention.qkv"] = tuple(f"{theirs}.attention.self.{part}" for part in _QKV)
    names = {}
    for ours, theirs in modules.items():
        is_table = ours.startswith("encoder.embeddings.") and not ours.endswith("norm")
        kinds = ("weight",) if is_table else ("bias",) if ours == "mlm_head" else ("weight", "bias")
        names |= {f"{ours}.{kind}": tuple(f"{part}.{kind}" for part in theirs) for kind in kinds}
    return names


def to_huggingface(state: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Return BertForPreTraining's tensors for those of MaskedLMWithNSP.

    Raises:
        ValueError: naming the tensors that are missing or have no counterpart.
    """
    names = _names(config)
    _check_names("the checkpoint", set(state), set(names))
    tensors = {}
    for ours, theirs in names.items():
        for name, part in zip(theirs, state[ours].chunk(len(theirs)), strict=True):
            tensors[name] = part.detach().clone().contiguous()
    tensors[_TOKEN_TABLE] = tensors[_TOKEN_TABLE][: config.vocab_size].contiguous()
    return tensors


def from_huggingface(tensors: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Return MaskedLMWithNSP's tensors for those of a BERT of transformers; heads that it lacks are left out.

    Raises:
        ValueError: naming the tensors that are missing from the encoder or have no counterpart, or shapes that differ
            from the config.
    """
    theirs = dict(tensors)
    if not any(name.startswith("bert.") for name in theirs):  # an encoder by itself
        theirs = {f"bert.{name}": tensor for name, tensor in theirs.items()}
    for copy, original in _COPIES.items():
        found = theirs.pop(copy, None)
        if found is not None and original in theirs and not torch.equal(found, theirs[original]):
            raise ValueError(f"{copy} differs from {original}; only tied decoders can be carried over")
        if found is not None:
            theirs.setdefault(original, found)
    names = _names(config)
    wanted = {name for parts in names.values() for name in parts}
    optional = {name for name in wanted if name.startswith("cls.") or "pooler" in name}
    _check_names("the Hugging Face folder", set(theirs) - _BUFFERS, wanted, optional)
    state = {
        ours: torch.cat([theirs[name] for name in parts])
        for ours, parts in names.items()
        if all(name in theirs for name in parts)
    }
    table = state["encoder.embeddings.token.weight"]
    if table.shape != (config.vocab_size, config.hidden_size):
        raise ValueError(
            f"the token table is {tuple(table.shape)}, {CONFIG} says {(config.vocab_size, config.hidden_size)}"
        )
    padding = table.new_zeros(config.padded_vocab_size - config.vocab_size, config.hidden_size)
    state["encoder.embeddings.token.weight"] = torch.cat([table, padding])
    return state


def _check_names(where: str, found: set[str], wanted: set[str], optional: frozenset[str] | set[str] = frozenset()) -> None:
    missing, unknown = sorted(wanted - found - optional), sorted(found - wanted)
    if missing or unknown:
        raise ValueError(f"{where} lacks {missing or 'nothing'} and has {unknown or 'nothing'} that has no place in BERT")


def to_config_json(config: EncoderConfig) -> dict[str, Any]:
    """Return config.json of transformers for our sizes."""
    return {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        "tie_word_embeddings": True,
        **config.as_dict(),
    }


def from_config_json(content: Mapping[str, Any]) -> EncoderConfig:
    """Return our sizes for a config.json; ValueError where it is not of a BERT this encoder can be."""
    if content.get("model_type") != "bert":
        raise ValueError(f"{CONFIG} is of model_type={content.get('model_type')!r}; only 'bert' can be read")
    if content.get("position_embedding_type", "absolute") != "absolute" or content.get("is_decoder"):
        raise ValueError(f"{CONFIG} is of a BERT with relative positions or of a decoder; neither can be read")
    return EncoderConfig(**{field.name: content[field.name] for field in fields(EncoderConfig) if field.name in content})


def read_folder(folder: Path) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Read a Hugging Face folder: sizes and MaskedLMWithNSP's tensors, without the heads that it lacks.

    Raises:
        ValueError: where a file is missing or is not of a BERT.
    """
    config = from_config_json(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    index = folder / f"{WEIGHTS}.index.json"
    names = {WEIGHTS}
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    tensors: dict[str, Tensor] = {}
    for name in sorted(names):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}; weights are read from safetensors only")
        with safe_open(folder / name, framework="pt") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    renamed = {re.sub(r"LayerNorm\.(gamma|beta)$", _modern_norm, key): tensor for key, tensor in tensors.items()}
    return config, from_huggingface(renamed, config)


def _modern_norm(match: re.Match[str]) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]


def write_folder(
    folder: Path, config: EncoderConfig, state: Mapping[str, Tensor], tokenizer_files: Mapping[str, str]
) -> None:
    """Write what transformers' AutoModelForPreTraining and AutoTokenizer load into an existing folder."""
    (folder / CONFIG).write_text(json.dumps(to_config_json(config), indent=2) + "\n", encoding="utf-8")
    save_file(to_huggingface(state, config), folder / WEIGHTS, metadata={"format": "pt"})
    for name, text in tokenizer_files.items():
        (folder / name).write_text(text, encoding="utf-8")
