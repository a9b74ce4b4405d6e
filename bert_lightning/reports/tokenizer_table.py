"""A tokenizer at work, in tables: the tokens of a text or a pair, the special tokens, facts of the vocabulary."""

from typing import Any

from rich.console import Console
from rich.table import Table
from tokenizers import Encoding, Tokenizer

from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import (
    extra_special_tokens,
    plain_text_tokenizer,
    special_names,
    special_tokens,
)
from data_pipeline.tokenizers.tokenizer import tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import AS_IT_IS, BERT, says_bert
from data_pipeline.untrusted.escaping import printable

_CASE, _ACCENT = "ABC", "\u00e9\u00fc"


def tokenizer_facts(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return facts of a vocabulary and of what is done to a text before it, by name."""
    pieces = continuation_pieces(tokenizer)
    normalized = _CASE + _ACCENT
    if tokenizer.normalizer is not None:
        normalized = tokenizer.normalizer.normalize_str(normalized)
    return {
        "model": type(tokenizer.model).__name__,
        "tokens": tokenizer.get_vocab_size(),
        "tokens_that_continue_a_word": int(pieces.sum()),
        "special_tokens_without_a_role": extra_special_tokens(tokenizer),
        "folds_case": _CASE not in normalized,
        "strips_accents": _ACCENT not in normalized,
        "class_in_transformers": BERT if says_bert(tokenizer) else AS_IT_IS,
        "sha256": tokenizer_sha256(tokenizer),
    }


def encoded_text(tokenizer: Tokenizer, text: str, text_pair: str | None) -> dict[str, Any]:
    """Return what a text, or a pair, becomes: as `bert-fill-mask` and transformers read it, and as shards hold it.

    Args:
        tokenizer: The tokenizer.
        text: The text.
        text_pair: The second text of a pair, None for a single text.
    """
    encoding: Encoding = tokenizer.encode(text) if text_pair is None else tokenizer.encode(text, text_pair)
    texts = [text] if text_pair is None else [text, text_pair]
    plain = plain_text_tokenizer(tokenizer).encode_batch(texts, add_special_tokens=False)
    return {
        "tokens": encoding.tokens,
        "input_ids": encoding.ids,
        "token_type_ids": encoding.type_ids,
        "attention_mask": encoding.attention_mask,
        "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False),
        "in_shards": [each.ids for each in plain],
    }


def print_tokenizer(tokenizer: Tokenizer, facts: dict[str, Any], console: Console) -> None:
    """Print the facts of a tokenizer, and its special tokens by role with their ids."""
    table = Table("quantity", "value", title="\nthe tokenizer")
    for name, value in facts.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), printable(shown))
    console.print(table)
    ids = special_tokens(tokenizer)
    roles = Table("role", "token", "id", title="\nspecial tokens")
    for role, token in special_names(tokenizer).items():
        roles.add_row(role, printable(token), str(getattr(ids, role)))
    for token in facts["special_tokens_without_a_role"]:
        roles.add_row("", printable(token), str(tokenizer.token_to_id(token)))
    console.print(roles)


def print_encoded(tokenizer: Tokenizer, encoded: dict[str, Any], console: Console) -> None:
    """Print the tokens of a text, its decoded form, and how shards hold it if that is otherwise."""
    columns = ("tokens", "input_ids", "token_type_ids", "attention_mask")
    table = Table("token", *columns[1:], title="\nthe text")
    for row in zip(*(encoded[name] for name in columns), strict=True):
        table.add_row(printable(row[0]), *map(str, row[1:]))
    console.print(table)
    console.print(printable(f"decoded: {encoded['decoded']}"))
    special = special_tokens(tokenizer)
    around = {special.cls, special.sep, special.pad}
    inside = [index for index in encoded["input_ids"] if index not in around]
    shards = [index for ids in encoded["in_shards"] for index in ids]
    if inside != shards:
        words = " ".join(tokenizer.id_to_token(index) or "?" for index in shards)
        console.print(printable(f"in shards, where the names of roles are plain text: {words}"))
