"""Weights and sizes to and from Hugging Face folders, by name, without transformers.

Both ways are strict: a tensor without a counterpart, or of another shape, is an error that names it; only a whole head
may be absent, and only if the caller says so. `tensor_names` says which tensors are which; the padded rows of the
vocabulary exist here only; the decoder is the token table on both sides.
"""

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bert_lightning.checkpoints.task_head import KINDS, POOLER, TaskHead, find_head
from bert_lightning.checkpoints.tensor_checks import OUR_TOKEN_TABLE, check_names, check_tensor, shapes
from bert_lightning.checkpoints.tensor_names import HEADS, THEIR_POOLER, architecture, has_any, names, without
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.tokenizers.tokenizer_files import TOKENIZER_CONFIG, write_tokenizer_files
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.plain_files import has_file, plain_file, read_plain
from data_pipeline.untrusted.typed_fields import build, checked, listed, shown

_TOKEN_TABLE = "bert.embeddings.word_embeddings.weight"
_COPIES = {"cls.predictions.decoder.weight": _TOKEN_TABLE, "cls.predictions.decoder.bias": "cls.predictions.bias"}
_BUFFERS = {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
WEIGHTS, CONFIG = "model.safetensors", "config.json"
INDEX = f"{WEIGHTS}.index.json"
_SOP_POOLER, _SOP_CLASSIFIER = "sop_head.pooler.", "sop_head.classifier."


def to_huggingface(
    state: Mapping[str, Tensor], config: EncoderConfig, head: TaskHead | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a BERT of transformers for those of an objective.

    Args:
        state: Tensors of an encoder and of `head`, or of those of `HEADS` that there are. Of a sentence-order head only
            the pooler is carried over: the classes of transformers' BERT take its classifier for next-sentence
            prediction. Neither is the extra layer of a head, which they do not have.
        config: Sizes of the encoder.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: naming the tensors that are missing or have no counterpart, or what makes the encoder no BERT.
    """
    _check_is_bert(config)
    extra = _extra(state, head)
    state = {
        name.replace(_SOP_POOLER, f"{HEADS[1]}."): tensor
        for name, tensor in state.items()
        if not name.startswith(_SOP_CLASSIFIER) and name not in extra
    }
    wanted = _wanted(state, config, head)
    check_names("the checkpoint", set(state), set(wanted), _model(head))
    tensors = {}
    for ours, theirs in wanted.items():
        for name, part in zip(theirs, state[ours].chunk(len(theirs)), strict=True):
            tensors[name] = part.detach().clone().contiguous()
    tensors[_TOKEN_TABLE] = tensors[_TOKEN_TABLE][: config.vocab_size].contiguous()
    return tensors


def _wanted(state: Mapping[str, Tensor], config: EncoderConfig, head: TaskHead | None) -> dict[str, tuple[str, ...]]:
    """Return the names of the tensors of a model of ours; heads of pre-training may be absent as a whole."""
    return without(names(config, head), [each for each in HEADS if not has_any(state, each)])


def _extra(state: Mapping[str, Tensor], head: TaskHead | None) -> set[str]:
    return set() if head is None else head.extra_tensors(state)


def _model(head: TaskHead | None) -> str:
    return "BERT" if head is None else head.architecture


def from_huggingface(
    tensors: Mapping[str, Tensor],
    config: EncoderConfig,
    optional: Collection[str] = (),
    head: TaskHead | None = None,
) -> dict[str, Tensor]:
    """Return the tensors of ours for those of a BERT of transformers.

    Args:
        tensors: By the names of transformers, with or without the prefix `bert.`.
        config: Sizes.
        optional: Those of `HEADS` that may be absent as a whole; the result then lacks them.
        head: The head of a fine-tuned model. None: the result is of MaskedLMWithNSP.

    Raises:
        ValueError: naming the tensors that are missing, have no counterpart or are of another shape.
    """
    theirs = dict(tensors)
    if not any(name.startswith("bert.") for name in theirs):  # an encoder by itself
        theirs = {f"bert.{name}": tensor for name, tensor in theirs.items()}
    for copy, original in _COPIES.items():
        found = theirs.pop(copy, None)
        if found is not None and original in theirs and not _are_equal(found, theirs[original]):
            raise ValueError(f"{copy} differs from {original}; only tied decoders can be carried over")
        if found is not None:
            theirs.setdefault(original, found)
    if head is not None and POOLER not in KINDS[head.kind].modules:  # older classes kept one that they did not use
        theirs = {name: tensor for name, tensor in theirs.items() if not name.startswith(THEIR_POOLER)}
    wanted = names(config, head)
    given = [ours for ours, parts in wanted.items() if any(name in theirs for name in parts)]
    wanted = without(wanted, [each for each in optional if not has_any(given, each)])
    needed = {name for parts in wanted.values() for name in parts}
    check_names("the Hugging Face model", set(theirs) - _BUFFERS, needed, _model(head))
    _check_parts(theirs, wanted, shapes(config, head), config)
    state = {ours: torch.cat([theirs[name] for name in parts]) for ours, parts in wanted.items()}
    table = state[OUR_TOKEN_TABLE]
    padding = table.new_zeros(config.padded_vocab_size - config.vocab_size, config.hidden_size)
    state[OUR_TOKEN_TABLE] = torch.cat([table, padding])
    return state


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _check_parts(
    theirs: Mapping[str, Tensor],
    wanted: Mapping[str, Collection[str]],
    expected: Mapping[str, tuple[int, ...]],
    config: EncoderConfig,
) -> None:
    """Check kind and shape of the tensors that ours are made of."""
    expected = {**expected, OUR_TOKEN_TABLE: (config.vocab_size, config.hidden_size)}
    for ours, parts in wanted.items():
        rows, *others = expected[ours]
        for part in parts:
            check_tensor(part if len(parts) > 1 else ours, theirs[part], (rows // len(parts), *others), CONFIG)


def check_state(state: Mapping[str, Tensor], config: EncoderConfig, where: str, head: TaskHead | None = None) -> None:
    """Check that the tensors of a checkpoint are those of its sizes, before a model of these sizes is built.

    Args:
        state: The tensors of an objective, by name; whole heads may be absent.
        config: The sizes.
        where: The checkpoint, for errors.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: naming the tensors that are missing, unknown, or of another kind or shape.
    """
    ours = {_as_nsp(name): tensor for name, tensor in state.items()}
    expected = shapes(config, head)
    check_names(where, set(ours) - _extra(ours, head), _own_names(expected, ours, head), _model(head))
    for name, tensor in state.items():
        check_tensor(name, tensor, expected[_as_nsp(name)], f"the configuration in {where}")


def _own_names(expected: Collection[str], found: Collection[str], head: TaskHead | None) -> set[str]:
    """Return the names that a checkpoint of ours must have: those of the encoder and of the heads that are there."""
    modules = [each for each in HEADS if has_any(found, each)] if head is None else KINDS[head.kind].modules
    return {name for name in expected if name.startswith(("encoder.", *(f"{each}." for each in modules)))}


def _as_nsp(name: str) -> str:
    """Return the name that a tensor of a sentence-order head has in a next-sentence head, which has the same shapes."""
    return name.replace("sop_head.", "nsp_head.", 1) if name.startswith("sop_head.") else name


def to_config_json(
    config: EncoderConfig, architecture: str = "BertForPreTraining", head: TaskHead | None = None
) -> dict[str, Any]:
    """Return config.json of transformers for our sizes, one of its classes, and the labels of a head.

    Raises:
        ValueError: if the encoder is no BERT.
    """
    _check_is_bert(config)
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "tie_word_embeddings": True,
        **config.as_dict(),
        **(head.config_fields() if head is not None else {}),
    }


def _check_is_bert(config: EncoderConfig) -> None:
    """Raise a ValueError naming what the BERT of transformers does not have."""
    others = [f"model.{name}={value}" for name, value in config.beyond_bert().items()]
    if not config.type_vocab_size:
        others.append("model.type_vocab_size=0")
    if others:
        raise ValueError(f"the encoder has {listed(others)}, which BERT's classes in transformers do not have")


def from_config_json(content: Mapping[str, Any], where: str = CONFIG) -> EncoderConfig:
    """Return our sizes for a config.json; ValueError if it is not of a BERT that this encoder can be.

    Args:
        content: The object in the file.
        where: The file, for errors.
    """
    if content.get("model_type") != "bert":
        raise ValueError(f"{where} is of model_type={shown(content.get('model_type'))}; only 'bert' can be read")
    if content.get("position_embedding_type", "absolute") != "absolute" or content.get("is_decoder"):
        raise ValueError(f"{where} is of a BERT with relative positions or of a decoder; neither can be read")
    if content.get("vocab_size") is None:
        raise ValueError(f"{where} does not say vocab_size")
    names = [name for name in EncoderConfig.published_fields() if content.get(name) is not None]
    return build(EncoderConfig, {name: content[name] for name in names}, where)


def read_folder(
    folder: Path, optional: Collection[str] = ()
) -> tuple[EncoderConfig, dict[str, Tensor], TaskHead | None]:
    """Read a Hugging Face folder.

    Args:
        folder: With config.json and model.safetensors, in one file or in shards with an index.
        optional: Those of `HEADS` that may be absent.

    Returns:
        Sizes, our tensors, and the head if the model is a fine-tuned one.

    Raises:
        ValueError: if a file is missing, cut short or not of a BERT.
    """
    content, where = _read_object(folder, CONFIG), str(folder / CONFIG)
    config = from_config_json(content, where)
    is_sharded = has_file(folder, INDEX) and not has_file(folder, WEIGHTS)
    names = _shard_names(folder) if is_sharded else [WEIGHTS]
    tensors = {name: tensor for file in names for name, tensor in _read_tensors(folder, file).items()}
    head = find_head(content, {name.rpartition(".")[0] for name in tensors}, where)
    return config, from_huggingface(tensors, config, optional, head), head


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    return parse_object(read_plain(folder, name), str(folder / name))


def _shard_names(folder: Path) -> list[str]:
    """Return the files that an index spreads the tensors over."""
    where = str(folder / INDEX)
    content = _read_object(folder, INDEX)
    tensors = checked(content.get("weight_map"), dict[str, str], where, "weight_map")
    return sorted(set(tensors.values()))


def _read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file; the old names of LayerNorm's weight and bias become the new ones."""
    if not has_file(folder, name):
        raise ValueError(f"{folder} has no {printable(name)}; weights are read from safetensors only")
    path = plain_file(folder, name)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return {re.sub(r"LayerNorm\.(gamma|beta)$", _modern_norm, name): tensor for name, tensor in tensors.items()}


def _modern_norm(match: re.Match[str]) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]


def write_folder(
    folder: Path,
    config: EncoderConfig,
    state: Mapping[str, Tensor],
    tokenizer_files: Mapping[str, str],
    head: TaskHead | None = None,
) -> None:
    """Write what transformers loads into an existing folder: the model, as `architecture` says, and its tokenizer.

    The tokenizer is told how long a sequence the model takes, so that it truncates if it is asked to.

    Args:
        folder: The folder.
        config: The encoder's sizes.
        state: Tensors of the encoder and its heads, by our names.
        tokenizer_files: The text of the tokenizer's files, by name.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: naming the tensors that the class of transformers has and `state` has not.
    """
    content = to_config_json(config, architecture(state, head), head)
    (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(to_huggingface(state, config, head), folder / WEIGHTS, metadata={"format": "pt"})
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors lets nobody but the owner read what it writes
    files = dict(tokenizer_files)
    if TOKENIZER_CONFIG in files:
        settings = parse_object(files[TOKENIZER_CONFIG], TOKENIZER_CONFIG)
        settings["model_max_length"] = config.max_position_embeddings
        files[TOKENIZER_CONFIG] = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    write_tokenizer_files(files, folder)
