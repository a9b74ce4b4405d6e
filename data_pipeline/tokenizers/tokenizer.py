"""Tokenizers, trained on the corpus or read from a file."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer, models, trainers

from data_pipeline.tokenizers.alphabet import num_frequent_letters
from data_pipeline.tokenizers.bert_steps import WordFlags, has_emoji, wordpiece_tokenizer
from data_pipeline.tokenizers.pieces import CONTINUATION
from data_pipeline.tokenizers.special_tokens import (
    SPECIAL_TOKENS,
    check_special_tokens,
    finish,
    found_names,
    special_names,
    told_names,
    without_tokens,
)
from data_pipeline.tokenizers.vocabulary_files import read_declared, read_vocabulary
from data_pipeline.untrusted.plain_files import MAX_TEXT_BYTES


def train_wordpiece(
    texts: Sequence[str],
    vocab_size: int,
    lowercase: bool = True,
    min_frequency: int = 2,
    strip_accents: bool | None = None,
    limit_alphabet: int | None = None,
    special_tokens: Sequence[str] = (),
    keep_joiners: bool = False,
    split_emoji: bool | None = None,
) -> Tokenizer:
    """Train a WordPiece vocabulary; the special tokens get the first ids, and the same texts always give the same file.

    The trainer numbers the pieces of one letter in the order of a hash table, and these numbers later decide ties. So a
    first training without merges finds these pieces, and the second training gets them in a fixed order.

    Args:
        texts: Text to train on, in pieces of any size.
        vocab_size: Most entries; a small corpus gives fewer.
        lowercase: True folds case, as the uncased BERT models do.
        min_frequency: Fewest occurrences of a pair of pieces that is merged.
        strip_accents: True removes accents and splits Hangul syllables into letters; None does as `lowercase`.
        limit_alphabet: Most letters that get an entry, the commonest ones. With None all letters do, unless they would
            fill more than half of the vocabulary: then those that occur fewer than `min_frequency` times do not.
        special_tokens: Special tokens besides those of BERT, such as [ANON]; they stay whole in every text.
        keep_joiners: True keeps U+200C and U+200D in words, which BERT removes.
        split_emoji: True makes every emoji a word, which BERT does not; None does if there is one in the texts.

    Raises:
        ValueError: A special token cannot be one, or all of them and the letters of the texts are more than
            `vocab_size`.
    """
    extra = check_special_tokens(special_tokens)
    texts = without_tokens(texts, extra)
    split_emoji = has_emoji(texts) if split_emoji is None else split_emoji
    flags = WordFlags(lowercase, strip_accents, keep_joiners=keep_joiners, split_emoji=split_emoji)
    train = partial(_train, texts, flags=flags, min_frequency=min_frequency, special=[*SPECIAL_TOKENS.values(), *extra])
    found = train(0, [], limit_alphabet)
    if limit_alphabet is None and 2 * len(found) > vocab_size:
        normalizer = wordpiece_tokenizer(models.WordPiece(), flags).normalizer
        limit_alphabet = num_frequent_letters(texts, normalizer, min_frequency)
        found = train(0, [], limit_alphabet)
    letters = sorted(token for token in found if token.startswith(CONTINUATION) and token not in extra)
    vocabulary = train(vocab_size, letters, limit_alphabet)
    check_vocab_size(vocab_size, len(vocabulary))
    model = models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS["unk"], continuing_subword_prefix=CONTINUATION)
    return finish(wordpiece_tokenizer(model, flags), extra=extra)


def check_vocab_size(vocab_size: int, least: int) -> None:
    """Raise a ValueError if the vocabulary size is smaller than the least that the corpus needs."""
    if least > vocab_size:
        raise ValueError(
            f"tokenizer.vocab_size={vocab_size} is too small: the special tokens and letters of the corpus are {least}"
        )


def _train(
    texts: Sequence[str],
    vocab_size: int,
    letters: list[str],
    limit_alphabet: int | None,
    flags: WordFlags,
    min_frequency: int,
    special: list[str],
) -> dict[str, int]:
    tokenizer = wordpiece_tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS["unk"]), flags)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*special, *letters],
        continuing_subword_prefix=CONTINUATION,
        limit_alphabet=sys.maxunicode + 1 if limit_alphabet is None else limit_alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def load_tokenizer(
    path: str | Path, lowercase: bool | None = None, strip_accents: bool | None = None, is_causal: bool = False
) -> Tokenizer:
    """Load a tokenizer from a vocab.txt, a tokenizer.json, or a folder that holds one of them.

    Whatever the file leaves open is filled in: the tokenizer puts [CLS] and [SEP] around texts, recognizes its special
    tokens, and neither truncates nor pads. The flags and names in a tokenizer_config.json beside the file count.

    Args:
        path: File or folder; in a folder, tokenizer.json is preferred.
        lowercase: True folds case, which a vocab.txt does not tell; a flag beside it counts more. None: true.
        strip_accents: True removes accents; as for `lowercase`, but None does as `lowercase`.
        is_causal: True for the tokenizer of a causal model, which needs fewer special tokens; see `found_names`.

    Raises:
        ValueError: There is no tokenizer, it lacks a special token, or its ids are not 0, 1, 2, ...
    """
    path = _tokenizer_file(Path(path))
    beside = read_declared(path.parent)
    ends = beside.ends if is_causal else {}
    if path.suffix == ".json":
        tokenizer = read_tokenizer(path)
        names = found_names(tokenizer.get_vocab().__contains__, ends | told_names(tokenizer) | beside.names, is_causal)
        return _with_roles(finish(tokenizer, names), names, path)
    flags = beside.flags(path, lowercase, strip_accents)
    vocabulary = read_vocabulary(path)
    names = found_names(vocabulary.__contains__, ends | beside.names, is_causal)
    model = models.WordPiece(vocabulary, unk_token=names["unk"], continuing_subword_prefix=CONTINUATION)
    tokenizer = finish(wordpiece_tokenizer(model, flags), names)
    beside.add_tokens(tokenizer)
    return _with_roles(tokenizer, names, path)


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer.json, or that of a folder, as it is, but without truncation and padding.

    Raises:
        ValueError: It is no tokenizer.json, or its ids are not 0, 1, 2, ...
    """
    path = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # tokenizers raises bare Exception, and where Rust panics, no Exception at all
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from error
    highest, size = max(tokenizer.get_vocab().values(), default=-1), tokenizer.get_vocab_size()
    if highest != size - 1:
        raise ValueError(f"{path} has {size} tokens but ids up to {highest}; BERT needs 0, 1, 2, ... without gaps")
    # Many published files hold a maximum length, to which sentences would be truncated and padded.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _tokenizer_file(path: Path) -> Path:
    """Return the file that a path of a user leads to; ValueError if there is none, or it is too long."""
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds neither tokenizer.json nor vocab.txt")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"tokenizer.path={path} does not exist")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"tokenizer.path={path} is longer than the {MAX_TEXT_BYTES} bytes a tokenizer may have")
    return path


def _with_roles(tokenizer: Tokenizer, names: Mapping[str, str], path: Path) -> Tokenizer:
    """Return a tokenizer that tells its roles itself; ValueError naming one that only a file beside it tells."""
    for role, token in special_names(tokenizer).items():
        if token != names[role]:
            raise ValueError(
                f"{path}: the files beside it call {names[role]} the {role}_token, but the vocabulary has {token} too, "
                f"which would be taken; rename {token}"
            )
    return tokenizer


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Return a hash of everything in a tokenizer that decides how text becomes ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
