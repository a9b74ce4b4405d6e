"""Texts on a command line: Hydra's grammar gives meaning to brackets and commas, which texts are full of."""

import re
import sys
from collections.abc import Collection

TEXTS = ("text", "text_pair", "question")


def quoted(argument: str, names: Collection[str] = TEXTS) -> str:
    r"""Return an argument that is a text in the quotes that Hydra's grammar asks for; others as they are.

    The shell takes away the quotes that a user writes. A text that is still in quotes is left alone.

    >>> quoted("text=it's [MASK], no?")
    'text="it\'s [MASK], no?"'

    Args:
        argument: An argument of the command line, such as `text=...`.
        names: Keys whose values are texts.
    """
    name, _, text = argument.partition("=")
    if name not in names or re.fullmatch(r"""(["'])((?!\1).)*\1""", text):
        return argument
    escaped = re.sub(r'(\\*)"', r"\1\1\"", text)  # Hydra reads a backslash as one unless a quote follows
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'{name}="{escaped}{escaped[len(escaped) - trailing :]}"'


def quote_texts() -> None:
    """Quote the texts among the arguments of this process."""
    sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
