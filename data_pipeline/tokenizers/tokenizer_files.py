"""The files that a tokenizer is kept in: their names, reading them from a folder, checking them, writing them."""

from pathlib import Path

from data_pipeline.untrusted.plain_files import MAX_TEXT_BYTES, has_file, read_plain_text
from data_pipeline.untrusted.typed_fields import checked, listed, shown

TOKENIZER_CONFIG = "tokenizer_config.json"
ADDED_TOKENS, SPECIAL_TOKENS_MAP = "added_tokens.json", "special_tokens_map.json"
VOCABULARY = "vocab.txt"
TOKENIZER_FILES = (SPECIAL_TOKENS_MAP, "tokenizer.json", TOKENIZER_CONFIG, VOCABULARY, ADDED_TOKENS)
"""All that is read of a tokenizer; what is written is among it."""


def read_tokenizer_files(folder: Path) -> dict[str, str]:
    """Return the text of the tokenizer's files in a folder, by name; other files are left alone.

    Raises:
        ValueError: naming a file that is a link out of the folder, too long, or not text.
    """
    return {name: read_plain_text(folder, name) for name in TOKENIZER_FILES if has_file(folder, name)}


def check_tokenizer_files(files: object, where: str, field: str = "tokenizer") -> dict[str, str]:
    """Return the files if they are text under known names.

    Args:
        files: The text of each file, by name.
        where: What carries the files, for errors.
        field: What they are called there, for errors.

    Raises:
        ValueError: naming the file.
    """
    known: dict[str, str] = checked(files, dict[str, str], where, field)
    if unknown := [shown(name) for name in known if name not in TOKENIZER_FILES]:
        raise ValueError(f"{where} names the files {listed(unknown)}; a tokenizer has {', '.join(TOKENIZER_FILES)}")
    for name, text in known.items():
        if len(text) > MAX_TEXT_BYTES:
            raise ValueError(f"{where} has a {name} of {len(text)} letters, more than {MAX_TEXT_BYTES}")
    return known


def write_tokenizer_files(files: dict[str, str], folder: Path) -> None:
    """Write the files into an existing folder; ValueError naming a file that is not one of a tokenizer."""
    for name, text in check_tokenizer_files(files, str(folder)).items():
        (folder / name).write_text(text, encoding="utf-8")
