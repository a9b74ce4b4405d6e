"""From sentences to shards: how files and documents are grouped, and what is left out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from data_pipeline.preparation.extracted_text import ExtractedText
from data_pipeline.preparation.tokenization import (
    MIN_DOCUMENTS,
    TextInput,
    Tokenized,
    tokenization_groups,
    tokenization_tasks,
    tokenize_files,
)
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram
from data_pipeline.tokenizers.word_cache import WordCache
from tests.support.corpora import read_shard
from tests.support.texts import tiny_texts


@given(st.lists(st.integers(0, 3)))
def test_groups_cover_all_files_in_order_and_hold_two_documents(documents: list[int]) -> None:
    groups = tokenization_groups(documents)
    assert [number for group in groups for number in group] == list(range(len(documents)))
    if sum(documents) >= MIN_DOCUMENTS:
        assert all(sum(documents[number] for number in group) >= MIN_DOCUMENTS for group in groups)


def test_groups_are_single_files_where_files_are_large() -> None:
    assert tokenization_groups([50, 2, 900]) == [range(0, 1), range(1, 2), range(2, 3)]
    assert tokenization_groups([]) == []


@st.composite
def weighted(draw: st.DrawFn) -> list[list[int]]:
    """Passes of files: how many documents are seen at least once, at least twice, ..., at least four times."""
    files = st.lists(st.integers(0, 3), max_size=4).map(lambda counts: sorted(filter(None, counts), reverse=True))
    return draw(st.lists(files, min_size=1, max_size=6).filter(lambda passes: sum(p[0] for p in passes if p) >= 2))


@given(weighted())
def test_no_task_has_two_copies_and_copies_come_later(passes: list[list[int]]) -> None:
    text = ExtractedText(Path("text"))
    try:
        *train, (name, held_out) = tokenization_tasks(text, passes, ["s"] * len(passes))
    except ValueError:
        alone = [n for n in range(1, 4) if sum(p[n] for p in passes if len(p) > n) == 1]
        assert alone
        return
    assert (name, len(held_out)) == ("validation/part", len(passes))
    assert [prefix for prefix, _ in train] == [f"train/part-{n:05d}" for n in range(len(train))]
    done = [(text.path, text.number) for _, inputs in train for text in inputs]
    wanted = {(text.path("train", f), n) for f, counts in enumerate(passes) for n in range(len(counts))}
    assert sorted(done) == sorted(set(done))
    assert set(done) == wanted
    for _, inputs in train:
        assert len({text.path for text in inputs}) == len(inputs)
        counts = [passes[int(text.path.stem[-5:])][text.number] for text in inputs]
        assert sum(counts) >= MIN_DOCUMENTS
    firsts = [min(text.number for text in inputs) for _, inputs in train]
    assert firsts == sorted(firsts)


def described(tasks: list[tuple[str, list[TextInput]]]) -> list[str]:
    return [" ".join(f"{text.source}{text.number}" for text in inputs) for _, inputs in tasks[:-1]]


def test_a_copy_alone_joins_other_documents_and_where_there_are_none_that_is_an_error() -> None:
    text = ExtractedText(Path("text"))
    tasks = tokenization_tasks(text, [[9], [9], [9], [1, 1, 1]], ["a", "b", "d", "c"])
    assert described(tasks) == ["a0 c2", "b0 c1", "d0 c0"]
    with pytest.raises(ValueError, match="corpus c: its weight repeats a single document 3 times"):
        tokenization_tasks(text, [[9], [9], [1, 1, 1]], ["a", "b", "c"])
    with pytest.raises(ValueError, match="corpus b: its weight repeats a single document 2 times"):
        tokenization_tasks(text, [[9], [1, 1, 1]], ["a", "b"])


def test_copies_come_after_all_that_is_there_once() -> None:
    tasks = tokenization_tasks(ExtractedText(Path("text")), [[5, 5, 2], [3], [4, 2, 2]], ["a", "b", "c"])
    assert described(tasks) == ["a0", "b0", "c0", "a1", "c1", "a2", "c2"]


def test_every_source_has_a_task_of_held_out_text_if_it_has_two_documents() -> None:
    text, names = ExtractedText(Path("text")), ["a", "a", "b", "c"]

    def held_out(*documents: int) -> dict[str, list[str]]:
        tasks = tokenization_tasks(text, [[5]] * 4, names, documents)
        return {prefix: [each.path.stem for each in inputs] for prefix, inputs in tasks if "validation" in prefix}

    v = [f"validation-{number:05d}" for number in range(4)]
    assert held_out(1, 1, 2, 5) == {
        "validation/part-00": v[:2],
        "validation/part-01": v[2:3],
        "validation/part-02": v[3:],
    }
    assert held_out(2, 0, 1, 2) == {"validation/part-00": v[:2], "validation/part-01": v[2:]}
    assert held_out(2, 2, 2, 1) == {"validation/part-00": v[:2], "validation/part-01": v[2:]}
    assert held_out(1, 0, 1, 0) == held_out(0, 0, 0, 0) == {"validation/part": v}


def write_text(path: Path, documents: list[list[str]]) -> Path:
    about = {"title": "", "copies": 1}
    records = ({"identifier": f"d{i}", **about, "sentences": sentences} for i, sentences in enumerate(documents))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_shards_close_with_the_document_that_fills_them_and_hold_two(tmp_path: Path, tokenizer: Tokenizer) -> None:
    lengths = [30, 1, 1, 1, 9, 9, 9, 40, 2]
    inputs = [TextInput(write_text(tmp_path / "text.jsonl", [["a " * length] for length in lengths]), "s")]
    done = tokenize_files(inputs, "train/part", tmp_path, WordCache(plain_text_tokenizer(tokenizer)), shard_tokens=10)
    assert [entry.documents for entry in done.entries] == [2, 3, 2, 2]
    assert [entry.tokens for entry in done.entries] == [31, 11, 18, 42]
    assert [entry.name for entry in done.entries] == [f"train/part-{n:05d}.tar" for n in range(4)]
    assert {entry.source for entry in done.entries} == {"s"}
    done.save(tmp_path / "listing.json")
    assert Tokenized.load(tmp_path / "listing.json") == done


def test_a_last_document_alone_joins_the_shard_before(tmp_path: Path, tokenizer: Tokenizer) -> None:
    inputs = [TextInput(write_text(tmp_path / "text.jsonl", [["a"] * 10] * 5))]
    done = tokenize_files(inputs, "part", tmp_path, WordCache(plain_text_tokenizer(tokenizer)), shard_tokens=15)
    assert [entry.documents for entry in done.entries] == [2, 3]


def test_sentences_and_documents_without_a_token_are_left_out_and_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    inputs = [TextInput(write_text(tmp_path / "text.jsonl", [["a", "\u200b", "t"], ["\u200b"], ["o"]]), "s")]
    done = tokenize_files(inputs, "part", tmp_path, WordCache(plain_text_tokenizer(tokenizer)), shard_tokens=100)
    assert done.dropped == {"s": {"sentence without a token": 2, "document without a token": 1}}
    shard = read_shard(tmp_path, done.entries[0])
    words = [tokenizer.id_to_token(int(token)) for token in shard.tokens]
    assert words == ["a", "t", "o"]
    assert shard.document_offsets.tolist() == [0, 2, 3]


NAMES = "the king reads [CLS] first [SEP] never [MASK] nor [PAD] or <s> </s> <mask> <pad>"
KINDS = {
    "wordpiece": lambda texts: train_wordpiece(texts, 120),
    "cased wordpiece": lambda texts: train_wordpiece(texts, 120, lowercase=False),
    "byte_bpe": lambda texts: train_byte_bpe(texts, 350),
    "unigram": lambda texts: train_unigram(texts, 320),
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_special_tokens_in_the_text_are_text(tmp_path: Path, kind: str) -> None:
    tokenizer = KINDS[kind]([*map(" ".join, tiny_texts(50)), NAMES, NAMES])
    special = special_tokens(tokenizer)
    inputs = [TextInput(write_text(tmp_path / "text.jsonl", [[NAMES], ["[MASK]"]]), "s")]
    done = tokenize_files(inputs, "part", tmp_path, WordCache(plain_text_tokenizer(tokenizer)), shard_tokens=1000)
    tokens = read_shard(tmp_path, done.entries[0]).tokens.tolist()
    assert {special.pad, special.cls, special.sep, special.mask}.isdisjoint(tokens)
    assert done.dropped == {}
    letters = "".join(tokenizer.id_to_token(token).lower() for token in tokens).replace("##", "")
    assert all(name in letters for name in ("cls", "sep", "mask", "pad"))
    assert special.mask in tokenizer.encode("[MASK]", add_special_tokens=False).ids


def test_special_tokens_that_a_vocabulary_finds_by_itself_are_left_out_and_counted(tmp_path: Path) -> None:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "king"]
    published = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    published.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inputs = [TextInput(write_text(tmp_path / "text.jsonl", [["the [MASK] king", "[SEP]"], ["king"]]), "s")]
    done = tokenize_files(inputs, "part", tmp_path, WordCache(plain_text_tokenizer(published)), shard_tokens=1000)
    assert read_shard(tmp_path, done.entries[0]).tokens.tolist() == [5, 6, 6]
    assert done.dropped == {"s": {"special token in the text": 2, "sentence without a token": 1}}
