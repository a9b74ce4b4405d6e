"""What a printed book has around its text: title page, contents, byline, lists of prices."""

import re
from collections.abc import Sequence

_LONGEST_FRONT = 0.05
"""Share of a book that may lie before its first heading and be a title page."""
_LISTED = re.compile(r"\s*([IVXLC]+|\d+)\.?\s.*|.*\s\d{1,3}\s*")
_PROSE_END = re.compile(r"[.!?:;,\u2014-][\"'\u2019\u201d)\]]*$")
_BYLINE = re.compile(r"(?i:(written |edited |translated )?by) (?=[A-Z\"'\u201c])(?:[A-Z]\.|[^.!?]){1,60}\.?", re.DOTALL)
_PRICE = re.compile(
    r"\b\d+s\.(?:\s?\d+d\.)?|\$\s?\d+|\u00a3\s?\d+|\b(?:8vo|12mo|16mo|4to)\b|\b(?:net|cloth|gilt|postage)\b[,.;]"
)
_DIGITS = re.compile(r"\d+")
_TRADE_WORDS = ("net", "cloth", "gilt", "postage")
_WORDS_A_PRICE = 12


def is_contents(lines: Sequence[str]) -> bool:
    """Return whether the lines below a heading "Contents" are a list of chapters, not the begin of the text.

    >>> is_contents(["I A Storm", "II The Calm", "THE END 99"]), is_contents(["It was a dark night.", "He went out."])
    (True, False)
    """
    written = [line for line in lines if line.strip()]
    listed = sum(bool(_LISTED.fullmatch(line) or line.isupper()) for line in written)
    return 5 * listed >= 2 * len(written)


def without_title_page(paragraphs: Sequence[str], letters: int) -> list[str]:
    """Return the paragraphs before the first heading without title, dedication and the like.

    Args:
        paragraphs: Text before the first heading.
        letters: Letters of the whole book; a long text before the first heading is no title page.

    >>> without_title_page(["TREASURE ISLAND", "by R. L. Stevenson", "This is a preface."], 1000)
    ['This is a preface.']
    """
    if sum(map(len, paragraphs)) > max(_LONGEST_FRONT * letters, 200):
        return list(paragraphs)
    return [text for text in paragraphs if _PROSE_END.search(text) and not is_byline(text)]


def is_byline(paragraph: str) -> bool:
    """Return whether a paragraph only names the author.

    >>> is_byline("By Edward Bulwer-Lytton"), is_byline("By noon they had reached the town. It rained.")
    (True, False)
    """
    return len(paragraph.split()) <= 8 and _BYLINE.fullmatch(paragraph) is not None


def is_price_list(paragraph: str) -> bool:
    """Return whether a paragraph is an entry of a publisher's list: two prices or formats in a few words.

    >>> is_price_list("CLARA. Crown 8vo, cloth, 3s. 6d."), is_price_list("He paid 3s. for it, and went to the inn.")
    (True, False)
    """
    # Every match has a number or such a word, and those are counted much faster.
    at_most = len(_DIGITS.findall(paragraph)) + sum(map(paragraph.count, _TRADE_WORDS))
    if at_most < 2 or at_most < (least := len(paragraph.split()) / _WORDS_A_PRICE):
        return False
    return len(_PRICE.findall(paragraph)) >= max(2, least)
