"""Tokenizers: trained on the corpus or read from a file, and what the pipeline has to know of their vocabulary."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
CONTINUATION = "##"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of BERT's special tokens."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """Return the ids of the special tokens; ValueError naming those the vocabulary lacks."""
    found = {name: tokenizer.token_to_id(token) for name, token in SPECIAL_TOKENS.items()}
    ids = {name: number for name, number in found.items() if number is not None}
    if missing := [SPECIAL_TOKENS[name] for name in found if name not in ids]:
        raise ValueError(f"the vocabulary has no {', '.join(missing)}; BERT needs {', '.join(SPECIAL_TOKENS.values())}")
    return SpecialTokens(**ids)


def continuation_pieces(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Return which ids continue a word (begin with `##`), (vocabulary,)."""
    table = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    for token, number in tokenizer.get_vocab().items():
        table[number] = token.startswith(CONTINUATION) and token != CONTINUATION
    return table


def wordpiece_tokenizer(model: models.WordPiece, lowercase: bool) -> Tokenizer:
    """Return BERT's tokenizer around a WordPiece model: its normalisation, word splitting and [CLS] A [SEP] B [SEP]."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    return tokenizer


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    special = special_tokens(tokenizer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    tokenizer.post_processor = processors.BertProcessing(
        (SPECIAL_TOKENS["sep"], special.sep), (SPECIAL_TOKENS["cls"], special.cls)
    )
    return tokenizer


def train_wordpiece(texts: Sequence[str], vocab_size: int, lowercase: bool = True, min_frequency: int = 2) -> Tokenizer:
    """Train a WordPiece vocabulary; the special tokens get the first ids, and the same texts always give the same file.

    The trainer numbers the one-letter pieces in the order of a hash table, and these numbers decide ties later on. So
    they are found by a first, merge-free training and handed to the second one in a fixed order.

    Args:
        texts: The text to learn from, in pieces of any size.
        vocab_size: Most entries; a small corpus gives fewer.
        lowercase: Fold case and strip accents, as the uncased BERTs do.
        min_frequency: Fewest occurrences of a pair of pieces that is to be merged.

    Raises:
        ValueError: where the special tokens and the letters of the texts alone are more than `vocab_size`.
    """
    letters = sorted(t for t in _train(texts, 0, lowercase, min_frequency, []) if t.startswith(CONTINUATION))
    vocabulary = _train(texts, vocab_size, lowercase, min_frequency, letters)
    if len(vocabulary) > vocab_size:
        raise ValueError(
            f"tokenizer.vocab_size={vocab_size} is too small: the special tokens and letters of the corpus are "
            f"{len(vocabulary)}"
        )
    model = models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS["unk"], continuing_subword_prefix=CONTINUATION)
    return _finish(wordpiece_tokenizer(model, lowercase))


def _train(
    texts: Sequence[str], vocab_size: int, lowercase: bool, min_frequency: int, first: list[str]
) -> dict[str, int]:
    tokenizer = wordpiece_tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS["unk"]), lowercase)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL_TOKENS.values(), *first],
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def load_tokenizer(path: str | Path, lowercase: bool = True) -> Tokenizer:
    """Load a tokenizer from a vocab.txt, a tokenizer.json, or a folder that holds one of them.

    Args:
        path: The file or folder; in a folder tokenizer.json goes first.
        lowercase: For a vocab.txt, which does not say.

    Raises:
        ValueError: where there is no tokenizer, it lacks a special token, or its ids are not 0, 1, 2, ...
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds neither tokenizer.json nor vocab.txt")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"tokenizer.path={path} does not exist")
    if path.suffix == ".json":
        return _load_json(path)
    model = models.WordPiece(
        _read_vocabulary(path), unk_token=SPECIAL_TOKENS["unk"], continuing_subword_prefix=CONTINUATION
    )
    return _finish(wordpiece_tokenizer(model, lowercase))


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Return the tokens of a vocab.txt, numbered by line; each may be there once."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a vocabulary of UTF-8 text: {error}") from error
    vocabulary: dict[str, int] = {}
    for number, token in enumerate(lines):
        if vocabulary.setdefault(token, number) != number:
            raise ValueError(f"{path} lists {token!r} twice, in lines {vocabulary[token] + 1} and {number + 1}")
    return vocabulary


def _load_json(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from error
    special_tokens(tokenizer)
    highest, size = max(tokenizer.get_vocab().values()), tokenizer.get_vocab_size()
    if highest != size - 1:
        raise ValueError(f"{path} has {size} tokens but ids up to {highest}; BERT needs 0, 1, 2, ... without gaps")
    # Many published files carry the length their model was used at: sentences would be cut and filled up to it.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the files, by name, that transformers' AutoTokenizer loads as a BERT tokenizer."""
    ids = tokenizer.get_vocab()
    lowercase = bool((json.loads(tokenizer.to_str())["normalizer"] or {}).get("lowercase", False))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "model_max_length": 512,
        **{f"{name}_token": token for name, token in SPECIAL_TOKENS.items()},
    }
    return {
        "tokenizer.json": tokenizer.to_str(),
        "vocab.txt": "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__)),
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
        "special_tokens_map.json": json.dumps({f"{n}_token": t for n, t in SPECIAL_TOKENS.items()}, indent=2) + "\n",
    }


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write the tokenizer's files into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tokenizer_files(tokenizer).items():
        (folder / name).write_text(text, encoding="utf-8")


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Return the hash of everything that decides how text becomes ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
