"""The rows of a model for another vocabulary: a token that both vocabularies have keeps its row, others begin anew."""

import logging
from collections.abc import Mapping

import torch
from tokenizers import Tokenizer
from torch import Tensor

from data_pipeline.tokenizers.special_tokens import special_names
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import listed

log = logging.getLogger(__name__)
ROWS_OF_TOKENS = ("encoder.embeddings.token.weight", "mlm_head.bias", "generator_head.bias")
"""Tensors with a row for every token of the vocabulary, which filler may follow."""
LEAST_SHARED = 0.5
"""Share of the tokens that two vocabularies have in common if one was made from the other."""


def rows_by_token(tokenizer: Tokenizer, other: Tokenizer) -> list[int | None]:
    """Return for each id of a tokenizer the id of the same token in another one, None if that lacks it.

    Special tokens are the same if they have the same role, whatever their names.
    """
    theirs = other.get_vocab()
    names, their_names = special_names(tokenizer), special_names(other)
    renamed = {names[role]: their_names[role] for role in names if role in their_names}
    ids = tokenizer.get_vocab()
    return [theirs.get(renamed.get(token, token)) for token in sorted(ids, key=ids.__getitem__)]


def with_rows_of(
    state: Mapping[str, Tensor], new: Mapping[str, Tensor], tokenizer: Tokenizer, other: Tokenizer
) -> dict[str, Tensor]:
    """Return the tensors of a model with the rows of another vocabulary, and say in one line what has changed.

    Args:
        state: Tensors of the model, by name.
        new: Tensors of a new model of the wanted vocabulary, which gives the rows of tokens that the model lacks.
        tokenizer: Tokenizer of the wanted vocabulary.
        other: Tokenizer of the model.

    Raises:
        ValueError: if the two vocabularies share fewer than half of the tokens.
    """
    rows = rows_by_token(tokenizer, other)
    if rows != list(range(other.get_vocab_size())):
        _say(rows, tokenizer, other)
    taken = torch.tensor([row is not None for row in rows])
    sources = torch.tensor([row for row in rows if row is not None])
    changed = dict(state)
    for name in ROWS_OF_TOKENS:
        if name in state and name in new:
            changed[name] = new[name].clone()
            changed[name][: len(rows)][taken] = state[name][sources].to(new[name].dtype)
    return changed


def _say(rows: list[int | None], tokenizer: Tokenizer, other: Tokenizer) -> None:
    anew = [printable(tokenizer.id_to_token(index) or "") for index, row in enumerate(rows) if row is None]
    shared, size = len(rows) - len(anew), other.get_vocab_size()
    if shared < LEAST_SHARED * len(rows):
        raise ValueError(
            f"init_from has another vocabulary than the prepared data: they share {shared} of {len(rows)} tokens; "
            "prepare with its tokenizer.path"
        )
    begun = f"begin with new weights: {listed(anew)}" if anew else "begin with new weights"
    log.info(
        "init_from: the rows of %d tokens are taken by name, %d tokens %s; %d of its %d tokens are not used",
        *(shared, len(anew), begun, size - shared, size),
    )
