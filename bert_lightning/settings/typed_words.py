"""Texts, paths and names on a command line: Hydra's grammar gives meaning to brackets, commas and digits in them."""

import os
import re
import sys
from collections.abc import Sequence

TEXTS = ("text", "text_pair", "prompt", "question", "template", "prompting.template")
"""Keys whose values are texts."""
PATHS = (
    "path", "output_dir", "cache_dir", "checkpoint", "init_from", "resume", "input", "output", "digests", "chart",
    "minimal_pairs", "cloze", "train", "validation", "test", "first", "second", "teacher",
)  # fmt: skip
"""Last parts of keys whose values are paths."""
GRAPHS = ("graph", "labeled.graph")
"""Keys whose values are paths of graphs; `task.graph` is a group."""
NAMES = ("run_name", "name", "project", "group", "column", "pair_column", "choices_column")
"""Last parts of keys whose values are names, also if they look like numbers."""
COLUMNS = tuple(
    f"{group}.{name}"
    for group in ("task", "labeled")
    for name in ("text", "text_pair", "label", "identifier", "choices", "words", "tags")
)
"""Keys whose values are names of columns."""
LISTS = ("choices", "task.labels")
"""Keys whose values are lists of texts or names; a comma separates two of them if it is not in double quotes."""
IN_QUOTES = re.compile(r"""(["'])((?!\1).)*\1""", re.DOTALL)
_ESCAPED = re.compile(r"\\[\\()\[\]{}:=, \t]")
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A comma outside of double quotes."""
MULTIRUN = ("-m", "--multirun")


def quoted(argument: str, is_multirun: bool = False) -> str:
    r"""Return a text, path or name in the quotes that Hydra's grammar asks for; other arguments as they are.

    The shell takes away the quotes that a user writes. What is still in quotes, what is escaped for Hydra, lists and
    null are left alone; so is what a multirun may read as several values. A leading ~ is the home directory. Of lists
    of texts every member gets quotes.

    >>> quoted("text=it's [MASK], no?")
    'text="it\'s [MASK], no?"'
    >>> quoted("choices=[It's in.,It's out.]")
    'choices=["It\'s in.","It\'s out."]'
    >>> quoted("corpus.path=books (1)"), quoted("run_name=2026_11_21"), quoted("data.seq_len=128")
    ('corpus.path="books (1)"', 'run_name="2026_11_21"', 'data.seq_len=128')

    Args:
        argument: An argument of the command line, such as `text=...`.
        is_multirun: Whether the commas and functions of a value choose the points of a sweep.
    """
    name, _, value = argument.partition("=")
    if IN_QUOTES.fullmatch(value) or not value:
        return argument
    last = name.lstrip("+").rpartition(".")[2]
    if name.lstrip("+") in LISTS:
        return f"{name}={_quoted_list(value, is_multirun)}"
    is_path = last in PATHS or name.lstrip("+") in GRAPHS
    is_name = last in NAMES or name.lstrip("+") in COLUMNS
    if name not in TEXTS and (not (is_path or is_name) or _is_hydras(value, is_multirun)):
        return argument
    if is_path and value.startswith("~"):
        value = os.path.expanduser(value)
    return f"{name}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    escaped = re.sub(r'(\\*)"', r"\1\1\"", value)  # Hydra reads a backslash as one unless a quote follows
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'"{escaped}{escaped[len(escaped) - trailing :]}"'


def _quoted_list(value: str, is_multirun: bool) -> str:
    """Return a list with its members in quotes, anything else as it is."""
    inner = value[1:-1].strip()
    is_list = value[0] == "[" and value[-1] == "]" and len(value) > 1
    is_sweep = is_multirun and ("[" in inner or "]" in inner)
    if not is_list or not inner or is_sweep or _ESCAPED.search(inner):
        return value
    members = (each.strip() for each in _COMMA.split(inner))
    return f"[{','.join(each if IN_QUOTES.fullmatch(each) else _in_quotes(each) for each in members)}]"


def _is_hydras(value: str, is_multirun: bool) -> bool:
    """Return whether a path or a name is written in Hydra's grammar."""
    is_list = value[0] == "[" and value[-1] == "]"
    is_sweep = is_multirun and ("," in value or re.fullmatch(r"\w+\(.*\)", value) is not None)
    return is_list or is_sweep or value in ("null", "???") or _ESCAPED.search(value) is not None


def unquoted(word: str) -> str:
    """Return a word as a user types it: without the quotes that `quoted` has added.

    >>> unquoted('run_name="2026_11_21"'), unquoted("data.path='a b'")
    ('run_name=2026_11_21', "data.path='a b'")
    """
    name, _, value = word.partition("=")
    if name.lstrip("+") in LISTS and value.startswith('["'):
        members = _COMMA.split(value[1:-1])
        typed = f"{name}=[{','.join(each if ',' in each else _without_quotes(each) for each in members)}]"
    else:
        typed = f"{name}={_without_quotes(value)}"
    return typed if quoted(typed) == word else word


def _without_quotes(value: str) -> str:
    return value[1:-1].replace('\\"', '"')


def quoted_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with texts, paths and names in quotes."""
    is_multirun = any(word in MULTIRUN for word in words)
    return [quoted(word, is_multirun) for word in words]


def quote_arguments() -> None:
    """Quote the texts, paths and names among the arguments of this process."""
    sys.argv[1:] = quoted_words(sys.argv[1:])
