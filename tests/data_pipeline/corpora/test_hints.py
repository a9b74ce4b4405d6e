"""What is looked for first because it is found fast: never is something missed that the slow patterns would find."""

import re
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.corpora import front_matter, prose
from data_pipeline.corpora.front_matter import is_price_list
from data_pipeline.corpora.prose import tidy

MARKUP = [
    *"()[],;.:\"'_<>-!|&=a1 \n\u00a0\u201c\u201d\uff08\uff09\uff0c",
    *("''", "[[", "]]", "{{", "}}", "<b>", "</i>", "<!--", "-->", "__TOC__", "<ref name=x>", "word", ".NET"),
]
PRICES = [
    "3s.",
    "6d.",
    "$",
    "5",
    "£",
    "2",
    "8vo",
    "12mo",
    "net",
    "cloth,",
    "gilt.",
    "postage;",
    "a",
    "word",
    "bonnet,",
    "1s.",
    "7",
]


def texts(pieces: Iterable[str]) -> st.SearchStrategy[str]:
    """Return a strategy of texts that are put together from pieces."""
    return st.lists(st.sampled_from(list(pieces)), max_size=12).map("".join)


@given(texts(MARKUP))
def test_a_removal_is_hinted_at(text: str) -> None:
    slow = text
    for _, pattern, replacement in prose._REMOVALS:
        slow = pattern.sub(replacement, slow)
    assert tidy(text) == " ".join(prose._SPACED.sub(r"\1\2", slow).split())


@given(texts([*PRICES, " ", " "]))
def test_a_price_is_hinted_at(paragraph: str) -> None:
    prices = len(re.findall(front_matter._PRICE, paragraph))
    assert is_price_list(paragraph) == (prices > 1 and prices * 12 >= len(paragraph.split()))
