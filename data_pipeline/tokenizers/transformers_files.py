"""The files of a tokenizer as transformers reads them: as a BertTokenizer if that can say it, else as it is.

transformers builds a BertTokenizer from its vocabulary and its flags, and ignores the other steps in tokenizer.json. So
only a tokenizer whose steps are those of BERT is written as one. Every other is a PreTrainedTokenizerFast, which
transformers reads from tokenizer.json.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from data_pipeline.tokenizers.pieces import CONTINUATION
from data_pipeline.tokenizers.special_tokens import extra_special_tokens, finish, special_names
from data_pipeline.tokenizers.tokenizer_files import TOKENIZER_CONFIG, VOCABULARY

BERT, AS_IT_IS = "BertTokenizer", "PreTrainedTokenizerFast"
PROBE = (
    "Unaffable WORLD's café, naïve: 3.14 東京 walks! \u00c5ngstr\u00f6m e\u0301 \u0130 stra\u00dfe x_1 a\u200cb "
    "a\u00adb great\U0001f600 20\u00b0C don't ... \u0939\u093f\u0928\u094d\u0926\u0940 \u304c\u304e A/B"
    " \uac01 \u0e01\u0e33 <b>"
)
"""Text that tells tokenizers apart: case, accents, marks, joiners, control characters, scripts, symbols."""
TOKENS_OF_A_TEXT = 64
_DEFAULT_LONGEST_WORD = 100


def tokenizer_files(tokenizer: Tokenizer, sample: Sequence[str] = ()) -> dict[str, str]:
    """Return the files, by name, from which transformers' AutoTokenizer loads a tokenizer with the same ids.

    Args:
        tokenizer: The tokenizer.
        sample: Texts on which the ids are compared, besides all tokens of the vocabulary and `PROBE`.
    """
    names = {f"{role}_token": token for role, token in special_names(tokenizer).items()}
    settings: dict[str, object] = {
        "tokenizer_class": AS_IT_IS,
        "model_max_length": 512,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **names,
    }
    extra = extra_special_tokens(tokenizer)
    if extra:
        settings["additional_special_tokens"] = extra
    files = {"tokenizer.json": tokenizer.to_str()}
    if says_bert(tokenizer, sample):
        ids = tokenizer.get_vocab()
        files[VOCABULARY] = "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__))
        normalizer = _parts(tokenizer)["normalizer"]
        settings["tokenizer_class"] = BERT
        settings["do_lower_case"] = normalizer["lowercase"]
        settings["strip_accents"] = normalizer["strip_accents"]
        settings["tokenize_chinese_chars"] = normalizer["handle_chinese_chars"]
    files[TOKENIZER_CONFIG] = json.dumps(settings, indent=2) + "\n"
    names_by_role: dict[str, object] = {**names, **({"additional_special_tokens": extra} if extra else {})}
    files["special_tokens_map.json"] = json.dumps(names_by_role, indent=2) + "\n"
    return files


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write the tokenizer's files into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tokenizer_files(tokenizer).items():
        (folder / name).write_text(text, encoding="utf-8")


def says_bert(tokenizer: Tokenizer, sample: Sequence[str] = ()) -> bool:
    """Return whether transformers' BertTokenizer has the steps of a tokenizer, and gives the same ids for texts.

    Args:
        tokenizer: The tokenizer.
        sample: Texts to compare on, besides all tokens of the vocabulary and `PROBE`.
    """
    if not isinstance(tokenizer.model, models.WordPiece) or not isinstance(
        tokenizer.normalizer, normalizers.BertNormalizer
    ):
        return False
    parts, rebuilt = _parts(tokenizer), _as_transformers_builds(tokenizer)
    if any(_described(parts)[step] != described for step, described in _described(_parts(rebuilt)).items()):
        return False
    if any(len(token.splitlines()) > 1 or token != token.strip("\n") for token in tokenizer.get_vocab()):
        return False  # no line of a vocab.txt
    texts = [*sample, PROBE, *_texts_of_vocabulary(tokenizer)]
    pairs = zip(tokenizer.encode_batch(texts), rebuilt.encode_batch(texts), strict=True)
    return all(one.ids == other.ids and one.type_ids == other.type_ids for one, other in pairs)


def _as_transformers_builds(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer that transformers' BertTokenizer builds from the vocabulary and the flags."""
    names, normalizer = special_names(tokenizer), _parts(tokenizer)["normalizer"]
    model = models.WordPiece(
        tokenizer.get_vocab(with_added_tokens=False),
        unk_token=names["unk"],
        continuing_subword_prefix=CONTINUATION,
        max_input_chars_per_word=_DEFAULT_LONGEST_WORD,
    )
    rebuilt = Tokenizer(model)
    rebuilt.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=normalizer["handle_chinese_chars"],
        strip_accents=normalizer["strip_accents"],
        lowercase=normalizer["lowercase"],
    )
    rebuilt.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return finish(rebuilt, names)


def _described(parts: Mapping[str, Any]) -> dict[str, object]:
    """Return what decides the ids of a text; how pairs are put together is compared on texts."""
    model = {name: value for name, value in parts["model"].items() if name != "vocab"}
    return {**{name: parts[name] for name in ("normalizer", "pre_tokenizer", "added_tokens")}, "model": model}


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a tokenizer as the object in its tokenizer.json."""
    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    return parts


def _texts_of_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Return texts that have every token of the vocabulary but the special ones."""
    ids = sorted(tokenizer.get_vocab(with_added_tokens=False).values())
    chunks = [ids[begin : begin + TOKENS_OF_A_TEXT] for begin in range(0, len(ids), TOKENS_OF_A_TEXT)]
    return [tokenizer.decode(chunk) for chunk in chunks]
