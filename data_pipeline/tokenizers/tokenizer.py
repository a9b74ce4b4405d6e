"""Tokenizers, trained on the corpus or read from a file, and the properties of vocabularies that the pipeline uses."""

import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from data_pipeline.tokenizers.alphabet import num_frequent_letters
from data_pipeline.tokenizers.tokenizer_files import read_vocabulary
from data_pipeline.untrusted.plain_files import MAX_TEXT_BYTES

SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""Special tokens by role, under BERT's names; every vocabulary trained here has them."""
_OTHER_NAMES = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
CONTINUATION = "##"
BYTE_SPACE, SPACE = "\u0120", "\u2581"
"""Marks at the begin of a word: in byte-level BPE, and in Unigram and other vocabularies of SentencePiece."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the special tokens, by role."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """Return the ids of the special tokens by role; ValueError if the vocabulary lacks one."""
    ids = tokenizer.get_vocab()
    return SpecialTokens(**{role: ids[token] for role, token in special_names(tokenizer).items()})


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the token of each role: BERT's name or, if the vocabulary lacks it, RoBERTa's (ALBERT mixes the two)."""
    names = {role: (token, _OTHER_NAMES[role]) for role, token in SPECIAL_TOKENS.items()}
    found = {role: [t for t in both if tokenizer.token_to_id(t) is not None] for role, both in names.items()}
    if missing := [SPECIAL_TOKENS[role] for role, tokens in found.items() if not tokens]:
        raise ValueError(f"the vocabulary has no {', '.join(missing)}; BERT needs {', '.join(SPECIAL_TOKENS.values())}")
    return {role: tokens[0] for role, tokens in found.items()}


def continuation_pieces(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Return for each id whether its token continues a word, (vocabulary,).

    Continuations begin with `##` in WordPiece. In the other vocabularies the first piece of a word begins with the mark
    of a space, and punctuation counts as a word by itself, as in BERT. So a token continues a word if it has no mark
    and begins with a letter, a digit, or a byte of one.
    """
    table = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    vocabulary = tokenizer.get_vocab()
    if isinstance(tokenizer.model, models.WordPiece):
        continues = _continues_wordpiece
    elif any(token.startswith(BYTE_SPACE) for token in vocabulary):
        continues = _continues_bytes
    else:
        continues = _continues_letters
    for token, index in vocabulary.items():
        table[index] = continues(token)
    table[_special_ids(tokenizer)] = False
    return table


def piece_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the number of UTF-8 bytes of the text of each id, with the space before a word, (vocabulary,).

    Losses divided by these numbers compare across vocabularies. Special tokens, [UNK] included, have no text.

    >>> [_wordpiece_bytes(token) for token in ("run", "##ning")]
    [4, 4]
    """
    vocabulary = tokenizer.get_vocab()
    if isinstance(tokenizer.model, models.WordPiece):
        measure: Callable[[str], int] = _wordpiece_bytes
    elif any(token.startswith(BYTE_SPACE) for token in vocabulary):
        measure = len  # every letter of byte-level BPE stands for one byte
    else:
        measure = _space_marked_bytes
    table = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for token, index in vocabulary.items():
        table[index] = measure(token)
    table[_special_ids(tokenizer)] = 0
    return table


def _wordpiece_bytes(token: str) -> int:
    is_continuation = _continues_wordpiece(token)
    return len(token.encode()) - len(CONTINUATION) if is_continuation else len(token.encode()) + 1


def _space_marked_bytes(token: str) -> int:
    return len(token.replace(SPACE, " ").encode())


def _special_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of special and added tokens, ascending."""
    return sorted({*tokenizer.get_added_tokens_decoder(), *asdict(special_tokens(tokenizer)).values()})


def _continues_wordpiece(token: str) -> bool:
    return token.startswith(CONTINUATION) and token != CONTINUATION


def _continues_bytes(token: str) -> bool:
    first = token[:1]
    return first != BYTE_SPACE and (first.isalnum() or not first.isascii())


def _continues_letters(token: str) -> bool:
    is_byte = token.startswith("<0x") and token.endswith(">")
    return is_byte or unicodedata.category(token[0])[0] in "LNM"


def wordpiece_tokenizer(model: models.WordPiece, lowercase: bool, strip_accents: bool | None = None) -> Tokenizer:
    """Return BERT's tokenizer around a WordPiece model: its normalization and word splitting."""
    tokenizer = Tokenizer(model)
    strip = lowercase if strip_accents is None else strip_accents
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    return tokenizer


def finish(tokenizer: Tokenizer) -> Tokenizer:
    """Make a tokenizer add [CLS] and [SEP] to pairs, and recognize the names of special tokens in text."""
    special = special_tokens(tokenizer)
    mask = AddedToken(SPECIAL_TOKENS["mask"], lstrip=True, special=True, normalized=False)
    keeps_spaces = not isinstance(tokenizer.model, models.WordPiece)
    others = [token for role, token in SPECIAL_TOKENS.items() if role != "mask" or not keeps_spaces]
    tokenizer.add_special_tokens([*others, *([mask] if keeps_spaces else [])])
    tokenizer.post_processor = processors.BertProcessing(
        (SPECIAL_TOKENS["sep"], special.sep), (SPECIAL_TOKENS["cls"], special.cls)
    )
    return tokenizer


def plain_text_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that reads the names of special tokens in a text as plain text, as BERT's tokenizer does."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy


def train_wordpiece(
    texts: Sequence[str],
    vocab_size: int,
    lowercase: bool = True,
    min_frequency: int = 2,
    strip_accents: bool | None = None,
    limit_alphabet: int | None = None,
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

    Raises:
        ValueError: The special tokens and the letters of the texts alone are more than `vocab_size`.
    """
    case = (lowercase, strip_accents)
    found = _train(texts, 0, case, min_frequency, [], limit_alphabet)
    if limit_alphabet is None and 2 * len(found) > vocab_size:
        normalizer = wordpiece_tokenizer(models.WordPiece(), *case).normalizer
        limit_alphabet = num_frequent_letters(texts, normalizer, min_frequency)
        found = _train(texts, 0, case, min_frequency, [], limit_alphabet)
    letters = sorted(token for token in found if token.startswith(CONTINUATION))
    vocabulary = _train(texts, vocab_size, case, min_frequency, letters, limit_alphabet)
    check_vocab_size(vocab_size, len(vocabulary))
    model = models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS["unk"], continuing_subword_prefix=CONTINUATION)
    return finish(wordpiece_tokenizer(model, *case))


def check_vocab_size(vocab_size: int, least: int) -> None:
    """Raise a ValueError if the vocabulary size is smaller than the least that the corpus needs."""
    if least > vocab_size:
        raise ValueError(
            f"tokenizer.vocab_size={vocab_size} is too small: the special tokens and letters of the corpus are {least}"
        )


def _train(
    texts: Sequence[str],
    vocab_size: int,
    case: tuple[bool, bool | None],
    min_frequency: int,
    first: list[str],
    limit_alphabet: int | None,
) -> dict[str, int]:
    tokenizer = wordpiece_tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS["unk"]), *case)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL_TOKENS.values(), *first],
        continuing_subword_prefix=CONTINUATION,
        limit_alphabet=sys.maxunicode + 1 if limit_alphabet is None else limit_alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def load_tokenizer(path: str | Path, lowercase: bool = True, strip_accents: bool | None = None) -> Tokenizer:
    """Load a tokenizer from a vocab.txt, a tokenizer.json, or a folder that holds one of them.

    Args:
        path: File or folder; in a folder, tokenizer.json is preferred.
        lowercase: True folds case; it is used for a vocab.txt, which does not tell.
        strip_accents: True removes accents; it is used for a vocab.txt, and None does as `lowercase`.

    Raises:
        ValueError: There is no tokenizer, it lacks a special token, or its ids are not 0, 1, 2, ...
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds neither tokenizer.json nor vocab.txt")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"tokenizer.path={path} does not exist")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"tokenizer.path={path} is longer than the {MAX_TEXT_BYTES} bytes a tokenizer may have")
    if path.suffix == ".json":
        return _load_json(path)
    model = models.WordPiece(
        read_vocabulary(path), unk_token=SPECIAL_TOKENS["unk"], continuing_subword_prefix=CONTINUATION
    )
    return finish(wordpiece_tokenizer(model, lowercase, strip_accents))


def _load_json(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # tokenizers raises bare Exception, and where Rust panics, no Exception at all
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from error
    special_tokens(tokenizer)
    highest, size = max(tokenizer.get_vocab().values()), tokenizer.get_vocab_size()
    if highest != size - 1:
        raise ValueError(f"{path} has {size} tokens but ids up to {highest}; BERT needs 0, 1, 2, ... without gaps")
    # Many published files hold a maximum length, to which sentences would be truncated and padded.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the files, by name, from which transformers' AutoTokenizer loads a tokenizer with the same ids."""
    special = {f"{role}_token": token for role, token in special_names(tokenizer).items()}
    settings: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **special,
    }
    files = {"tokenizer.json": tokenizer.to_str()}
    if isinstance(tokenizer.model, models.WordPiece):
        ids = tokenizer.get_vocab()
        files["vocab.txt"] = "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__))
        normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
        settings["tokenizer_class"] = "BertTokenizer"
        settings["do_lower_case"] = bool(normalizer.get("lowercase", False))
        settings["strip_accents"] = normalizer.get("strip_accents")
    files["tokenizer_config.json"] = json.dumps(settings, indent=2) + "\n"
    files["special_tokens_map.json"] = json.dumps(special, indent=2) + "\n"
    return files


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write the tokenizer's files into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tokenizer_files(tokenizer).items():
        (folder / name).write_text(text, encoding="utf-8")


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Return a hash of everything in a tokenizer that decides how text becomes ids."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
