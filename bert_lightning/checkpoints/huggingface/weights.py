"""Tensors to and from those of transformers, by name, without transformers.

Both ways are strict: a tensor without a counterpart, or of another shape, is an error that names it; only a whole head
may be absent, and only if the caller says so. A family says which tensors are which; the padded rows of the vocabulary
exist here only; the decoder is the token table on both sides.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from bert_lightning.checkpoints.huggingface.bert import BERT
from bert_lightning.checkpoints.huggingface.families import family_of
from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import (
    HEADS,
    OUR_TOKEN_TABLE,
    check_names,
    check_tensor,
    has_any,
    shapes,
)
from bert_lightning.models.encoder_config import EncoderConfig


def to_huggingface(
    state: Mapping[str, Tensor], config: EncoderConfig, head: TaskHead | None = None, family: Family | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a model of transformers for those of an objective.

    Args:
        state: Tensors of an encoder and of `head`, or of those of `HEADS` that there are. Heads that no class of the
            family has are left out, as is the extra layer of a head.
        config: Sizes of the encoder.
        head: The head of a fine-tuned model, None for a pre-trained one.
        family: The family to write the model as; None for the first that can hold it.

    Raises:
        ValueError: naming the tensors that are missing or have no counterpart, or what no class of transformers has.
    """
    family = family_of(config, state, head, family)
    extra = set() if head is None else head.extra_tensors(state)
    kept = {
        _lent(name, family): tensor
        for name, tensor in state.items()
        if name not in extra and not any(has_any([name], each) for each in family.left_out)
    }
    fitted = family.fitted(config)
    wanted = family.names(_expected(fitted, kept, head), head)
    kept_names = set(family.names(_expected(config, kept, head), head))
    check_names("the checkpoint", set(kept), kept_names, model_name(family, head))
    ours = family.fitted_state(kept, config)
    tensors = {}
    for name, theirs in wanted.items():
        for part, tensor in zip(theirs, ours[name].chunk(len(theirs)), strict=True):
            tensors[part] = family.turned(part, tensor).detach().clone().contiguous()
    (table,) = wanted[OUR_TOKEN_TABLE]
    tensors[table] = tensors[table][: config.vocab_size].contiguous()
    return tensors


def _lent(name: str, family: Family) -> str:
    """Return the name of ours that a tensor is written as."""
    module, _, kind = name.rpartition(".")
    return f"{family.borrowed.get(module, module)}.{kind}"


def _expected(config: EncoderConfig, state: Collection[str], head: TaskHead | None) -> list[str]:
    """Return the names that a model of ours must have; heads of pre-training may be absent as a whole."""
    absent = tuple(f"{each}." for each in HEADS if not has_any(state, each))
    return [name for name in shapes(config, head) if not name.startswith(absent)]


def model_name(family: Family, head: TaskHead | None) -> str:
    """Return what a model is called in errors: its class if it has a head, else its family.

    Args:
        family: The family.
        head: The head of a fine-tuned model, None for a pre-trained one.
    """
    return family.title if head is None else family.tasks[head.kind].name


def from_huggingface(
    tensors: Mapping[str, Tensor],
    config: EncoderConfig,
    optional: Collection[str] = (),
    head: TaskHead | None = None,
    family: Family = BERT,
) -> dict[str, Tensor]:
    """Return the tensors of ours for those of a model of transformers.

    Args:
        tensors: Tensors by the names of transformers, with or without the family's prefix.
        config: The sizes that config.json says.
        optional: Those of `HEADS` that may be absent as a whole; the result then lacks them.
        head: The head of a fine-tuned model. None: the result has the heads of pre-training of the family.
        family: The family.

    Raises:
        ValueError: naming the tensors that are missing, have no counterpart or are of another shape.
    """
    theirs = _originals(tensors, family)
    expected = shapes(config, head)
    wanted = family.names(expected, head)
    given = [ours for ours, parts in wanted.items() if any(name in theirs for name in parts)]
    absent = tuple(f"{each}." for each in optional if not has_any(given, each))
    wanted = {ours: parts for ours, parts in wanted.items() if not ours.startswith(absent)}
    needed = {name for parts in wanted.values() for name in parts}
    unread = family.unread(config)
    pooler = f"{family.prefix}.{family.pooler}"
    if pooler not in family.head_modules(head).values():  # older classes kept one that they did not use
        unread |= {name for name in theirs if has_any([name], pooler)}
    check_names("the Hugging Face model", set(theirs) - unread, needed, model_name(family, head))
    _check_parts(theirs, wanted, expected, config)
    state = {ours: torch.cat([theirs[name] for name in parts]) for ours, parts in wanted.items()}
    table = state[OUR_TOKEN_TABLE]
    padding = table.new_zeros(config.padded_vocab_size - config.vocab_size, table.shape[1])
    state[OUR_TOKEN_TABLE] = torch.cat([table, padding])
    return state


def _originals(tensors: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Return tensors under their names in a model with a head, without those that repeat others."""
    theirs, prefix = dict(tensors), f"{family.prefix}."
    if not any(name.startswith(prefix) for name in theirs):  # an encoder by itself
        theirs = {f"{prefix}{name}": tensor for name, tensor in theirs.items()}
    for copy, original in family.copies.items():
        found = theirs.pop(copy, None)
        if found is not None and original in theirs and not _are_equal(found, theirs[original]):
            raise ValueError(f"{copy} differs from {original}; only tied decoders can be carried over")
        if found is not None:
            theirs.setdefault(original, found)
    return {name: family.turned(name, tensor) for name, tensor in theirs.items()}


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _check_parts(
    theirs: Mapping[str, Tensor],
    wanted: Mapping[str, Collection[str]],
    expected: Mapping[str, tuple[int, ...]],
    config: EncoderConfig,
) -> None:
    """Check kind and shape of the tensors that ours are made of."""
    expected = {**expected, OUR_TOKEN_TABLE: (config.vocab_size, config.embedding_width)}
    for ours, parts in wanted.items():
        rows, *others = expected[ours]
        for part in parts:
            check_tensor(part if len(parts) > 1 else ours, theirs[part], (rows // len(parts), *others), "config.json")
