"""Special tokens by role, whatever their names: [PAD] and <pad>, [CLS], <cls> and <s>.

A tokenizer tells its roles itself. The tokens of its post-processor are those before and after a text, its model knows
the unknown token, and the others are found by their spelling. GPT-2's vocabulary has one special token,
`<|endoftext|>`: for a causal model it ends a text, begins one, and is the padding.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer, models, processors

from data_pipeline.untrusted.typed_fields import shown

SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""Special tokens by role, under BERT's names; every vocabulary trained here has them."""
_WORDS = {
    "pad": ("pad", "padding"),
    "unk": ("unk", "unknown"),
    "cls": ("cls", "s", "bos"),
    "sep": ("sep", "/s", "eos", "endoftext"),
    "mask": ("mask",),
}
"""Words that name a role; the earlier ones are preferred."""
_BRACKETS = (("[", "]"), ("<", ">"), ("<|", "|>"))


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the special tokens, by role."""

    pad: int
    unk: int
    cls: int
    sep: int
    known_mask: int | None

    @property
    def mask(self) -> int:
        """Id of [MASK]; ValueError if the vocabulary, which is that of a causal model, has none."""
        if self.known_mask is None:
            raise ValueError(f"the vocabulary has no {SPECIAL_TOKENS['mask']}; it is for causal models alone")
        return self.known_mask


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """Return the ids of the special tokens by role; ValueError if the vocabulary has none that ends a text."""
    ids = {role: _id(tokenizer, token) for role, token in special_names(tokenizer).items()}
    return SpecialTokens(ids["pad"], ids["unk"], ids["cls"], ids["sep"], ids.get("mask"))


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None, token
    return found


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the token of each role, as `found_names` finds them for a causal model."""
    return found_names(lambda token: tokenizer.token_to_id(token) is not None, told_names(tokenizer), is_causal=True)


def found_names(is_token: Callable[[str], bool], told: Mapping[str, str], is_causal: bool = False) -> dict[str, str]:
    """Return the token of each role.

    Args:
        is_token: Function that says whether the vocabulary has a token.
        told: The tokens of the roles that are known; those that the vocabulary lacks are passed over.
        is_causal: True lets the token that ends a text have each role but that of the mask, if no other token has it; a
            mask may be absent.

    Raises:
        ValueError: naming the roles that no token of the vocabulary has.
    """
    names = _known_names(is_token, told)
    if is_causal and (end := names.get("sep")):
        names = {"pad": end, "unk": end, "cls": end, **names}
    elif missing := [name for role, name in SPECIAL_TOKENS.items() if role not in names]:
        needed = ", ".join(SPECIAL_TOKENS.values())
        also = ", a causal model one that ends a text, such as <|endoftext|>" if is_causal else ""
        raise ValueError(f"the vocabulary has no {', '.join(missing)}; BERT needs {needed}{also}")
    return {role: names[role] for role in SPECIAL_TOKENS if role in names}


def _known_names(is_token: Callable[[str], bool], told: Mapping[str, str]) -> dict[str, str]:
    """Return the token of each role that has one."""
    names = {role: token for role, token in told.items() if is_token(token)}
    for role in SPECIAL_TOKENS:
        if role not in names and (spelled := next(filter(is_token, _spellings(role)), None)):
            names[role] = spelled
    return names


def _spellings(role: str) -> Iterator[str]:
    for word, (left, right) in product(_WORDS[role], _BRACKETS):
        yield f"{left}{word.upper()}{right}"
        yield f"{left}{word}{right}"


def told_names(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the tokens that the parts of a tokenizer name by role: special tokens with a usual spelling among them.

    A vocabulary may have the spellings of several families, of which only those in use are special tokens.
    """
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    names = _known_names(added.__contains__, {})
    unknown = getattr(tokenizer.model, "unk_token", None)  # Unigram does not tell
    if unknown is not None:
        names["unk"] = unknown
    for step in _steps(tokenizer.post_processor):
        names |= _around_a_text(step)
    return names


def _steps(post_processor: processors.PostProcessor | None) -> list[dict[str, Any]]:
    if post_processor is None:
        return []
    parts = json.loads(post_processor.__getstate__())
    return parts["processors"] if parts["type"] == "Sequence" else [parts]


def _around_a_text(step: dict[str, Any]) -> dict[str, str]:
    """Return the tokens that a post-processor puts before and after a text, if there is one of each."""
    if step["type"] in ("BertProcessing", "RobertaProcessing"):
        return {"cls": step["cls"][0], "sep": step["sep"][0]}
    if step["type"] == "TemplateProcessing":
        ids = [each["SpecialToken"]["id"] if "SpecialToken" in each else None for each in step["single"]]
        if len(ids) == 3 and ids[1] is None and ids[0] is not None and ids[2] is not None:
            return {"cls": ids[0], "sep": ids[2]}
    return {}


def extra_special_tokens(tokenizer: Tokenizer) -> list[str]:
    """Return the special tokens without a role, such as [ANON], in the order of their ids."""
    roles = _known_names(lambda token: tokenizer.token_to_id(token) is not None, told_names(tokenizer)).values()
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    return [token.content for _, token in added if token.special and token.content not in roles]


def finish(tokenizer: Tokenizer, names: Mapping[str, str] | None = None, extra: Sequence[str] = ()) -> Tokenizer:
    """Make a tokenizer put [CLS] and [SEP] around texts and pairs, and recognize special tokens in text.

    What the tokenizer does already stays as it is.

    Args:
        tokenizer: The tokenizer, whose vocabulary has a token for every role.
        names: The token of each role, None for those that `special_names` finds.
        extra: Special tokens without a role; those that the vocabulary lacks get the next ids.
    """
    names = special_names(tokenizer) if names is None else dict(names)
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    # Where a space belongs to the word after it, a mask takes the space, so that a guess may begin with one.
    takes_space = not isinstance(tokenizer.model, models.WordPiece)
    roles = [_special(token, takes_space and role == "mask") for role, token in names.items() if token not in known]
    tokenizer.add_special_tokens([*roles, *map(_special, extra)])
    cls, sep = (_id(tokenizer, names[role]) for role in ("cls", "sep"))
    if not _surrounds_as_bert_does(tokenizer, cls, sep):
        tokenizer.post_processor = processors.BertProcessing((names["sep"], sep), (names["cls"], cls))
    return tokenizer


def _special(token: str, takes_space: bool = False) -> AddedToken:
    return AddedToken(token, lstrip=takes_space, special=True, normalized=False)


def _surrounds_as_bert_does(tokenizer: Tokenizer, cls: int, sep: int) -> bool:
    """Return whether a text becomes [CLS] A [SEP], and a pair [CLS] A [SEP] B [SEP] with the segments of BERT."""
    one, two = _added_around(tokenizer.encode("")), _added_around(tokenizer.encode("", ""))
    return one == [(cls, 0), (sep, 0)] and two == [(cls, 0), (sep, 0), (sep, 1)]


def _added_around(encoding: Encoding) -> list[tuple[int, int]]:
    every = zip(encoding.ids, encoding.type_ids, encoding.special_tokens_mask, strict=True)
    return [(token, segment) for token, segment, is_special in every if is_special]


def plain_text_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that reads the names of the roles in a text as plain text, as BERT's tokenizer does.

    Special tokens without a role, such as [ANON], are read as what they are.
    """
    text = tokenizer.to_str()
    if extra := set(extra_special_tokens(tokenizer)):
        parts = json.loads(text)
        for token in parts["added_tokens"]:
            token["special"] = token["special"] and token["content"] not in extra
        text = json.dumps(parts)
    copy = Tokenizer.from_str(text)
    copy.encode_special_tokens = True
    return copy


def with_mask(tokenizer: Tokenizer, text: str) -> str:
    """Return a text in which [MASK] has the name of the mask in a vocabulary, such as <mask>."""
    return text.replace(SPECIAL_TOKENS["mask"], special_names(tokenizer)["mask"])


def without_tokens(texts: Sequence[str], tokens: Sequence[str]) -> Sequence[str]:
    """Return texts without some tokens, so that a vocabulary trained on them learns no pieces of these.

    >>> without_tokens(["by [ANON] for [ANON]"], ["[ANON]"])
    ['by   for  ']
    """
    if not tokens:
        return texts
    any_token = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))
    return [any_token.sub(" ", text) for text in texts]


def check_special_tokens(tokens: object, setting: str = "tokenizer.special_tokens") -> list[str]:
    """Return special tokens that a user gives; ValueError naming one that cannot be one.

    Args:
        tokens: A list of tokens.
        setting: Name of the setting, for errors.
    """
    example = f"""such as {setting}='["[ANON]"]'"""
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        raise ValueError(f"{setting} must be a list, {example}; got {shown(tokens)}")
    given: list[str] = []
    for token in tokens:
        if not isinstance(token, str) or not token or any(map(str.isspace, token)):
            raise ValueError(f"{setting} must be texts without white space, {example}; got {shown(token)}")
        if token.isalnum():  # what is left of brackets without quotes on a command line
            raise ValueError(f"{setting} must be told apart from words, {example}; got {token}")
        if token in SPECIAL_TOKENS.values() or token in given:
            raise ValueError(f"{setting} names {token}, which the vocabulary has already")
        given.append(token)
    return given
