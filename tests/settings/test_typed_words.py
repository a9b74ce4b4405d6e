"""Texts, paths and names reach a command as they are typed; what is written for Hydra stays Hydra's."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bert_lightning.settings.typed_words import quoted, quoted_words, unquoted


def value_of(word: str) -> object:
    """What Hydra reads in a word, once it is quoted."""
    return OverridesParser.create().parse_override(quoted(word)).value()


TEXTS = [
    "the capital of france is [MASK].",
    "it's [MASK], isn't it?",
    '"so [MASK]", he said: (yes) = {no}',
    "'a' or 'b' [MASK]",
    "[MASK] c:\\",
    r'a \"[MASK]\\" b\n',
]
PATHS = [
    "/tmp/B\u00fccher/\u8bd7", "/a/b=c", "/a/x,y", "/a/b (1)/c", "/a&b;c", "/a/it's", "/a/[x]", "/a/{x}", "wiki_0[0-4]",
    "/a/#1", "/a/b*", "/a/!b", "C:/x", '/a/"b"', "/a b/", "1e-4", "2026", "pipe:cat '/a b'/{name}", "s3://a/b?c=d",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_taken_as_the_user_wrote_it(text: str) -> None:
    """The shell has removed the quotes around text="..."; Hydra's grammar would trip over brackets and commas."""
    assert value_of(f"text={text}") == text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["data.path", "+corpus.books.path", "task.train", "checkpoint", "output"])
def test_a_path_is_taken_as_the_user_wrote_it(key: str, path: str) -> None:
    assert value_of(f"{key}={path}") == path


@pytest.mark.parametrize("name", ["2026_11_21", "1e-4", "007", "true", "a b", "caf\u00e9", "a=b", "a, b"])
def test_a_name_stays_a_name(name: str) -> None:
    assert value_of(f"run_name={name}") == name


@pytest.mark.parametrize("name", ["gr\u00f6\u00dfe", "Review Text (en)", "#1 String", "2024", "a, b", "true", "it's"])
@pytest.mark.parametrize("key", ["column", "pair_column", "task.text", "task.label", "labeled.choices", "task.words"])
def test_a_column_is_named_as_the_table_names_it(key: str, name: str) -> None:
    assert value_of(f"{key}={name}") == name


@pytest.mark.parametrize("path", ["L\u00e4ufe", "a (1).tsv", "2024"])
@pytest.mark.parametrize("key", ["teacher", "graph", "labeled.graph"])
def test_teachers_and_graphs_are_paths(key: str, path: str) -> None:
    assert value_of(f"{key}={path}") == path


@pytest.mark.parametrize(("typed", "members"), [
    ("[It's in.,It's out.]", ["It's in.", "It's out."]),
    ("[gut, sch\u00f6n (1)]", ["gut", "sch\u00f6n (1)"]),
    ('["a, b",c]', ["a, b", "c"]),
    ("['a',#1,2024,null]", ["a", "#1", "2024", "null"]),
    ("[see [1],c:\\]", ["see [1]", "c:\\"]),
])  # fmt: skip
@pytest.mark.parametrize("key", ["choices", "task.labels"])
def test_members_of_a_list_are_taken_as_they_are_typed(key: str, typed: str, members: list[str]) -> None:
    assert value_of(f"{key}={typed}") == members


@pytest.mark.parametrize(
    "word",
    [
        "task.text_pair=null",
        "choices=null",
        "choices=[]",
        r"choices=[a\, b,c]",
        "task.graph={path: x}",
        "graph=null",
        "task.labels=null",
        "task.label=???",
    ],
)  # fmt: skip
def test_null_and_groups_stay_so(word: str) -> None:
    assert quoted(word) == word


def test_a_sweep_over_lists_and_columns_stays_one() -> None:
    words = ["-m", "task.labels=[a,b],[c,d]", "task.text=a,b"]
    assert quoted_words(words) == words


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert value_of("data.path=~/data") == "/home/someone/data"
    assert value_of("run_name=~x") == "~x"
    assert Path(str(value_of("output_dir=a~b"))) == Path("a~b")


@pytest.mark.parametrize("word", [
    "text='the [MASK].'", 'text="it\'s [MASK]"', "top_k=3", "--help", "output=null", "data.path=???", "data.path=",
    "model=a=b", "data.path='/a (1)'", r"data.path=/a\ b", r"data.path=/a\=b", "corpus.path=[a,b]", "lr=1e-4",
    "~run_name",
])  # fmt: skip
def test_what_is_written_for_hydra_is_left_alone(word: str) -> None:
    assert quoted(word) == word


@pytest.mark.parametrize("word", [
    "data.path=/a b/it's", 'output_dir=/a/"b"', "run_name=1e-4", "lr=3", "choices=[it's,\"a, b\"]", "--help",
])  # fmt: skip
def test_a_quoted_word_is_shown_as_it_was_typed(word: str) -> None:
    assert unquoted(quoted(word)) == word


def test_commas_and_functions_choose_the_points_of_a_sweep() -> None:
    words = ["--multirun", "init_from=a,b", "data.path=choice(a,b)", "output_dir=a (1)"]
    assert quoted_words(words) == [*words[:3], 'output_dir="a (1)"']
    assert quoted_words(words[1:]) == ['init_from="a,b"', 'data.path="choice(a,b)"', 'output_dir="a (1)"']
