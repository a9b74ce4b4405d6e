"""Tests for running prose, and removal of the last traces of markup, for the readers of Wikipedia."""

import re
from collections.abc import Sequence

_TAG_NAMES = (
    "abbr|b|bdi|bdo|big|blockquote|br|caption|center|ce|chem|cite|code|dd|del|dfn|div|dl|dt|em|font|gallery|graph"
    "|h[1-6]|hiero|hr|i|imagemap|includeonly|indicator|ins|kbd|li|mapframe|maplink|mark|math|noinclude|nowiki|ol"
    "|onlyinclude|p|poem|pre|q|rb|ref|references|rp|rt|rtc|ruby|s|samp|score|section|small|source|span|strike|strong"
    "|sub|sup|syntaxhighlight|table|tbody|td|templatestyles|th|time|timeline|tr|tt|u|ul|var|wbr"
)
# A tag name alone or with attributes; "a <b and c> d" is a comparison, not a tag.
_TAG = rf"</?(?i:{_TAG_NAMES})(?:\s[^<>\n]*=[^<>\n]*)?\s*/?>"
_LEFTOVER = re.compile(rf"{_TAG}|<!--|-->|\{{\{{|\}}\}}|\[\[|\]\]|'{{2,}}|__[A-Z]+__")
# Brackets right after a letter stay, as in main().
_EMPTY_BRACKETS = re.compile(
    r"(?:^|\s+)\([\s,;:]*\)|(?<!\w)\([\s,;:]*\)|\([\s,;:]+\)|\uff08[\s\uff0c\u3001\uff1a\uff1b]*\uff09"
)
_LONE_BRACKET = re.compile(r"(?<=[\s(,;])\](?=[\s),;]|$)|\[\s+\]")
_EMPTY_QUOTES = re.compile(r'\s*(?:""|\u201c\s*\u201d)(?=[\s,.;:)])')
_REPEATED = re.compile(r"[,;](?:\s*[,;])+")
_COMMA_AND_STOP = re.compile(r"[,;]\s*(?=\.(?!\w))|[,;]\s+(?=\))")
# What is removed, in order. A pattern is tried only where the one before it, which is much faster, finds something.
_REMOVALS = tuple(
    (re.compile(hint), pattern, replacement)
    for hint, pattern, replacement in (
        (r"<|-->|\{\{|\}\}|\[\[|\]\]|''|__", _LEFTOVER, ""),
        (r"\]", _LONE_BRACKET, ""),
        (r"[(\uff08][\s,;:\uff0c\u3001\uff1a\uff1b]*[)\uff09]", _EMPTY_BRACKETS, ""),
        (r'""|\u201c', _EMPTY_QUOTES, ""),
        (r"[,;]\s*[,;]", _REPEATED, ","),
        (r"[,;]\s*[.)]", _COMMA_AND_STOP, ""),
    )
)
_CLOSING = "\"')]\u2018\u2019\u201c\u201d\u00ab\u00bb\u2039\u203a\u3009\u300b\u300d\u300f\u3011\uff02\uff09\uff3d"
# A mark directly before a word belongs to the word: .NET, .22, :wq.
_SPACED = re.compile(rf"\s+(\)?[,.;:]|\))(?=[\s{re.escape(_CLOSING)}]|$)|(\()[\s,;]+")
_SPACED_HINT = re.compile(r" [,.;:)]|\([ ,;]")

# Unicode's Sentence_Terminal and other marks that end a line of prose: colon, semicolon, ellipsis, Tibetan shad, and
# the Ethiopic word space, which is doubled for a full stop.
_ENDING = re.compile(
    "[!.?\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362\u1367"
    "\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e\u1b5f"
    "\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u2024\u203c\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e\u2e3c\u2e53\u2e54\u2e60"
    "\u2e61\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1"
    "\uabeb\ufe12\ufe15\ufe16\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61:;\u2026\u22ef\uff1a\uff1b\u061b\u0f0d-\u0f12"
    "\u1361]"
)
# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Ethiopic, Khmer, Tai, Balinese, Javanese, Yi, kana,
# Chinese characters. In the first group (_UNENDED) many sentences end without a mark.
_UNENDED = re.compile("[\u0e00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf]")
_UNSPACED = re.compile(
    f"{_UNENDED.pattern[:-1]}\u1200-\u137f\u1b00-\u1b7f\u3040-\u30ff\u3400-\u9fff\ua000-\ua4cf\ua980-\ua9df"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_UNENDED_LETTERS = 40
"""Fewest letters of a line in such a script that count as prose without an ending mark; headings are shorter."""


def tidy(text: str) -> str:
    """Remove unbalanced markup, empty brackets and quotes, repeated commas, and the spaces around them.

    Only known markup is removed, so comparisons, names and numbers stay.

    >>> tidy("Bern ( ; ) is ''the\u00a0 capital .")
    'Bern is the capital.'
    >>> tidy("It is called, , and; a vowel such as,. Then it goes on.")
    'It is called, and; a vowel such as. Then it goes on.'
    >>> tidy("Aruba ( ] ) and Andorra (]; 1993, ]) are countries, [H+] is an ion.")
    'Aruba and Andorra (1993) are countries, [H+] is an ion.'
    >>> tidy("<b>Where</b> x < 5 and y > 3 , .NET and main() hold .")
    'Where x < 5 and y > 3, .NET and main() hold.'
    """
    for hint, pattern, replacement in _REMOVALS:
        if hint.search(text):
            text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    return _SPACED.sub(r"\1\2", text) if _SPACED_HINT.search(text) else text


def is_prose(text: str) -> bool:
    """Return whether a text is prose: unlike captions and headings, it has several words and ends like a sentence.

    >>> is_prose("It has a river."), is_prose("See also"), is_prose("External links and more")
    (True, False, False)
    """
    if _ENDING.match(text.rstrip(_CLOSING + " ")[-1:]):
        return len(text.split()) > 3 or len(_UNSPACED.findall(text)) > 9
    return len(_UNENDED.findall(text)) >= _UNENDED_LETTERS


def only_announces(paragraphs: Sequence[str]) -> bool:
    """Return whether a page only announces lists, which are dropped, as pages of disambiguation do.

    >>> only_announces(["Cortex may refer to:"]), only_announces(["Bern has a river:", "It is the Aare."])
    (True, False)
    """
    return all(text.endswith((":", "\uff1a")) for text in paragraphs)
