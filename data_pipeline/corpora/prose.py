"""What both Wikipedia readers take for running prose, and the last traces of markup in it."""

import re

_LEFTOVER = re.compile(r"<[^<>\n]{1,200}>|\{\{|\}\}|\[\[|\]\]|'{2,}|__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r"\s*\(\s*[,;:\s]*\)")
_EMPTY_QUOTES = re.compile(r'\s*(?:""|\u201c\s*\u201d)(?=[\s,.;:)])')
_REPEATED = re.compile(r"[,;](?:\s*[,;])+")
_COMMA_AND_STOP = re.compile(r"[,;]\s*(?=\.(?!\w))")
_SPACED = re.compile(r"\s+([,.;:)])|(\()[\s,;]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_CLOSING = "\"')]\u201d\u2019\u00bb\u300d\u300f\uff09"
_ENDINGS = frozenset(".!?:;\u2026\u3002\uff01\uff1f\uff1a\uff1b\u061f\u06d4\u0964\u0965\u104b\u1362\u17d4")


def tidy(text: str) -> str:
    """Remove markup that was left unbalanced, brackets, quotes and lists that lost their content, and spaces around.

    >>> tidy("Bern ( ; ) is ''the\u00a0 capital .")
    'Bern is the capital.'
    >>> tidy("It is called, , and; a vowel such as,. Then it goes on.")
    'It is called, and; a vowel such as. Then it goes on.'
    """
    text = _EMPTY_QUOTES.sub("", _EMPTY_BRACKETS.sub("", _LEFTOVER.sub("", text)))
    text = _COMMA_AND_STOP.sub("", _REPEATED.sub(",", text))
    return " ".join(_SPACED.sub(r"\1\2", text).split())


def is_prose(text: str) -> bool:
    """Tell a paragraph from captions, leftovers of infoboxes and headings: it has words and ends like a sentence.

    Some scripts put no spaces between words; of these, those of Thai, Lao, Khmer and Burmese hardly end sentences.

    >>> is_prose("It has a river."), is_prose("See also"), is_prose("External links and more")
    (True, False, False)
    """
    unspaced = len(_UNSPACED.findall(text))
    last = text.rstrip(_CLOSING)[-1:]
    return (len(text.split()) > 3 or unspaced > 9) and (last in _ENDINGS or "\u0e00" <= last <= "\u17ff")
