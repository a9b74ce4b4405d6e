"""Hugging Face folders: config.json, model.safetensors and the tokenizer, read and written without transformers."""

import json
import logging
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bert_lightning.checkpoints.huggingface.families import family_of, named_family
from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.named_head import find_head
from bert_lightning.checkpoints.huggingface.weights import from_huggingface, to_huggingface
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import HEADS, has_any
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.tokenizers.special_tokens import SpecialTokens
from data_pipeline.tokenizers.tokenizer_files import TOKENIZER_CONFIG, write_tokenizer_files
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.plain_files import has_file, plain_file, read_plain
from data_pipeline.untrusted.typed_fields import checked

log = logging.getLogger(__name__)
WEIGHTS, CONFIG = "model.safetensors", "config.json"
INDEX = f"{WEIGHTS}.index.json"
_INPUTS = "model_input_names"


def to_config_json(
    config: EncoderConfig,
    modules: Collection[str] = (),
    head: TaskHead | None = None,
    family: Family | None = None,
    special: SpecialTokens | None = None,
) -> dict[str, Any]:
    """Return config.json of transformers for a model: its class, its sizes, and the labels of a head.

    Args:
        config: The encoder's sizes.
        modules: Names of the model's tensors.
        head: The head of a fine-tuned model, None for a pre-trained one.
        family: The family to write the model as; None for the first that can hold it.
        special: The special tokens of the model's vocabulary, None if it has no tokenizer.

    Raises:
        ValueError: naming what no class of transformers has.
    """
    family = family_of(config, modules, head, family)
    return {
        "architectures": [family.architecture(modules, head)],
        "model_type": family.model_type,
        "tie_word_embeddings": True,
        **family.config_fields(family.fitted(config)),
        **(family.token_fields(special, head) if special is not None else {}),
        **(head.config_fields() if head is not None else {}),
    }


def from_config_json(content: Mapping[str, Any], where: str = CONFIG) -> EncoderConfig:
    """Return our sizes for a config.json; ValueError if this encoder cannot be what the file describes.

    Args:
        content: The object in the file.
        where: The file, for errors.
    """
    family = named_family(content, where)
    if content.get("vocab_size") is None and "vocab_size" not in family.usual:
        raise ValueError(f"{where} does not say vocab_size")
    return family.read_config(content, where)


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
        ValueError: if a file is missing, cut short or of a model that this encoder cannot be. A head for masked tokens
            that cannot be computed here is left out, with a warning, if it may be absent.
    """
    content, where = _read_object(folder, CONFIG), str(folder / CONFIG)
    config = from_config_json(content, where)
    is_sharded = has_file(folder, INDEX) and not has_file(folder, WEIGHTS)
    names = _shard_names(folder) if is_sharded else [WEIGHTS]
    tensors = {name: tensor for file in names for name, tensor in _read_tensors(folder, file).items()}
    family = named_family(content, where)
    head = find_head(content, {name.rpartition(".")[0] for name in tensors}, family, where)
    state = from_huggingface(tensors, config, optional, head, family)
    if absent := [each for each in HEADS if head is None and has_any(family.heads, each) and not has_any(state, each)]:
        log.info("%s has no %s", folder, ", ".join(absent))
    if family.has_other_activation(config, state):
        state = _without_mlm_head(state, optional, f"{where} has hidden_act={config.hidden_act}", family)
    state, config = family.simplified(state, config)
    return config, state, head


def _without_mlm_head(
    state: Mapping[str, Tensor], optional: Collection[str], said: str, family: Family
) -> dict[str, Tensor]:
    """Return the tensors without the head for masked tokens, whose activation is not that of the layers."""
    said += f", but {family.title}'s head for masked tokens has {family.head_activation}, which this one cannot have"
    if "mlm_head" not in optional:
        raise ValueError(said)
    log.warning("%s; the head is left out", said)
    return {name: tensor for name, tensor in state.items() if not has_any([name], "mlm_head")}


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
    family: Family | None = None,
    special: SpecialTokens | None = None,
) -> None:
    """Write what transformers loads into an existing folder: the model, as `architecture` says, and its tokenizer.

    The tokenizer is told how long a sequence the model takes, so that it truncates if it is asked to; and, if the model
    has no segments, to make no `token_type_ids`, which a RoBERTa or a GPT-2 would look up in tables that lack them.

    Args:
        folder: The folder.
        config: The encoder's sizes.
        state: Tensors of the encoder and its heads, by our names.
        tokenizer_files: The text of the tokenizer's files, by name.
        head: The head of a fine-tuned model, None for a pre-trained one.
        family: The family to write the model as; None for the first that can hold it.
        special: The special tokens of the model's vocabulary, None if it has no tokenizer.

    Raises:
        ValueError: naming the tensors that the class of transformers has and `state` has not.
    """
    content = to_config_json(config, state, head, family, special)
    (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(to_huggingface(state, config, head, family), folder / WEIGHTS, metadata={"format": "pt"})
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors lets nobody but the owner read what it writes
    files = dict(tokenizer_files)
    if TOKENIZER_CONFIG in files:
        settings = parse_object(files[TOKENIZER_CONFIG], TOKENIZER_CONFIG)
        settings["model_max_length"] = config.max_position_embeddings
        names = settings.get(_INPUTS)
        if config.type_vocab_size < 2 and isinstance(names, list):
            settings[_INPUTS] = [name for name in names if name != "token_type_ids"]
        files[TOKENIZER_CONFIG] = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    write_tokenizer_files(files, folder)
