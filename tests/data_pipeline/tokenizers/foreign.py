"""Tokenizers as other people make them: written into a folder, under names and with steps of their own."""

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer

from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.texts import tiny_texts

TEXTS = [" ".join(document) for document in tiny_texts(60)]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def course_recipe(folder: Path) -> None:
    """WordPiece behind a sequence of normalizers and `Whitespace`, [PAD] at 3, and no post-processor."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    steps = [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def extra_tokens(folder: Path) -> None:
    """BERT's own steps with a special token more."""
    tokenizer = train_wordpiece(TEXTS, 200)
    tokenizer.add_special_tokens(["[ANON]"])
    tokenizer.save(str(folder / "tokenizer.json"))


def roberta(folder: Path) -> None:
    """Byte-level BPE that puts two separators between the texts of a pair and knows one segment."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=ROBERTA, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))


def words_of(*tokens: str) -> str:
    """Return a vocab.txt with some tokens first, and letters and words after them."""
    letters = "abcdefghijklmnopqrstuvwxyzïéKT.,'東京"
    words = ["the", "king", "old", "über", "東京"]
    return "\n".join([*tokens, *words, *letters, *(f"##{letter}" for letter in letters)]) + "\n"


def names_and_flags(folder: Path) -> None:
    """A vocab.txt with the names of RoBERTa, blank lines, and flags in the file beside it."""
    (folder / "vocab.txt").write_text(words_of(*ROBERTA, "", ""), encoding="utf-8")
    flags = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))


def old_added_tokens(folder: Path) -> None:
    """A vocab.txt with added tokens in a file of their own, as transformers wrote them for years."""
    (folder / "vocab.txt").write_text(words_of(*SPECIAL), encoding="utf-8")
    size = len(words_of(*SPECIAL).splitlines())
    (folder / "added_tokens.json").write_text(json.dumps({"walks": size + 1, "[ANON]": size}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["[ANON]"]}))


def saved_by_transformers(folder: Path) -> None:
    """A cased BertTokenizer with tokens that were added to it."""
    vocabulary = {token: number for number, token in enumerate(words_of(*SPECIAL).splitlines())}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ANON]"]})
    tokenizer.add_tokens(["walks"])
    tokenizer.save_pretrained(folder)


def other_names(folder: Path) -> None:
    """WordPiece whose roles are named in the style of XLNet, with [PAD]'s role in the last row."""
    vocabulary = {token: n for n, token in enumerate(["<unk>", "<cls>", "<sep>", "<mask>", "the", "king", "<pad>"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))


def plain_bert(folder: Path) -> None:
    """A BertTokenizer as transformers saves it."""
    vocabulary = {token: number for number, token in enumerate(words_of(*SPECIAL).splitlines())}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


def own_steps(folder: Path) -> None:
    """A vocabulary trained here with the steps that BERT does not have."""
    tokenizer = train_wordpiece([*TEXTS, "great\U0001f600"], 200, keep_joiners=True)
    tokenizer.save(str(folder / "tokenizer.json"))


FOREIGN: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (
        *(course_recipe, extra_tokens, roberta, names_and_flags),
        *(old_added_tokens, saved_by_transformers, other_names, plain_bert, own_steps),
    )
}
