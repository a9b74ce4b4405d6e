"""Text of others on its way to a terminal or a log: what would act there is spelled out."""

import unicodedata

_ACTING = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing, with which a text can look like another one."""


def printable(text: str) -> str:
    r"""Return a text with control characters, line ends, halves of surrogate pairs and direction marks spelled out.

    Letters of every script, spaces and the joiners that Persian and Hindi write with stay as they are.

    >>> printable("\x1b[2Jking\r\n"), printable("naïve [bold]")
    ('\\x1b[2Jking\\r\\n', 'naïve [bold]')
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled_out(letter) if _acts(letter) else letter for letter in text)


def _acts(letter: str) -> bool:
    return letter in _DIRECTIONS or unicodedata.category(letter) in _ACTING


def _spelled_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
