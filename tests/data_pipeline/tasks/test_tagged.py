"""Tagged sentences: CoNLL columns, CoNLL-U and lists of words; the real files and what is refused."""

import json
from pathlib import Path

import pytest

from data_pipeline.tasks.tagged import read_conll, read_conllu, read_tagged_table
from tests.support.checkout import SHARED_DATA

REAL = {
    "wnut17train.conll": (3394, 62730, 13),
    "emerging.dev.conll": (1009, 15733, 13),
    "emerging.test.annotated": (1287, 23394, 13),
    "en_ewt-ud-train.conllu": (12544, 204577, 17),
    "en_ewt-ud-dev.conllu": (2001, 25147, 17),
    "en_ewt-ud-test.conllu": (2077, 25094, 17),
}
CONLLU_WORD = "{0}\tform{0}\tlemma\tNOUN\tNN\t_\t0\troot\t_\t_\n"


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    read = read_conllu if name.endswith(".conllu") else read_conll
    sentences = read(SHARED_DATA / "tagging" / name)
    words = sum(len(sentence.words) for sentence in sentences)
    tags = {tag for sentence in sentences for tag in sentence.tags or ()}
    assert (len(sentences), words, len(tags)) == REAL[name]
    assert len({sentence.identifier for sentence in sentences}) == len(sentences)
    assert all(word.strip() for sentence in sentences for word in sentence.words)


def test_columns_of_conll_2003_and_a_lone_tab(tmp_path: Path) -> None:
    (tmp_path / "eng.train").write_text(
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O \n\t\n\n"
        "-DOCSTART- -X- -X- O\nPeter NNP B-NP B-PER"
    )
    first, second = read_conll(tmp_path / "eng.train")
    assert (first.words, first.tags, first.where[-6:]) == (("EU", "rejects"), ("B-ORG", "O"), "line 3")
    assert (second.words, second.tags, second.identifier) == (("Peter",), ("B-PER",), "1")
    chunks = read_conll(tmp_path / "eng.train", tag_column=2)
    assert chunks[0].tags == ("B-NP", "B-VP")


def test_ranges_and_empty_nodes_of_conllu_are_no_words(tmp_path: Path) -> None:
    lines = "# sent_id = s-1\n# text = x\n" + "".join(map(CONLLU_WORD.format, ("1", "2-3", "2", "3", "3.1")))
    (tmp_path / "x.conllu").write_text(f"{lines}\n{CONLLU_WORD.format(1)}\n# newpar\n")
    first, second = read_conllu(tmp_path / "x.conllu")
    assert (first.identifier, first.words, first.tags) == ("s-1", ("form1", "form2", "form3"), ("NOUN",) * 3)
    assert (second.identifier, second.words) == ("1", ("form1",))
    assert read_conllu(tmp_path / "x.conllu", "xpos")[0].tags == ("NN",) * 3


def test_lists_of_words(tmp_path: Path) -> None:
    rows = [{"tokens": ["In", "Bern"], "ner": ["O", "B-LOC"]}, {"tokens": [], "ner": []}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (sentence,) = read_tagged_table(tmp_path / "x.jsonl", "tokens", "ner")
    assert (sentence.words, sentence.tags) == (("In", "Bern"), ("O", "B-LOC"))
    assert read_tagged_table(tmp_path / "x.jsonl", "tokens", None)[0].tags is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\nb\n", "line 2 has columns: 1; the first line has 2"),
        ("a\tO\n\tO\n", r"line 2 has an empty column: '\\tO'"),
        ("alone\n", "line 1 has one column, 'alone'"),
        ("\n\t\n", "holds no sentences"),
        ("", "holds no sentences"),
    ],
)
def test_odd_columns_are_refused_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.conll").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_conll(tmp_path / "x.conll")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a O\n")
    with pytest.raises(ValueError, match=r"task\.tag_column=3, but .*line 1 has 2 columns"):
        read_conll(tmp_path / "x", tag_column=3)
    with pytest.raises(ValueError, match="line 1 has 1 columns; CoNLL-U has 10"):
        read_conllu(tmp_path / "x")
    (tmp_path / "x").write_text(CONLLU_WORD.format("one"))
    with pytest.raises(ValueError, match="line 1 has id='one'"):
        read_conllu(tmp_path / "x")
    with pytest.raises(ValueError, match="tag_column must be one of id, form"):
        read_conllu(tmp_path / "x", "ner")
    (tmp_path / "x.jsonl").write_text('{"words": ["a"], "tags": ["O", "O"]}')
    with pytest.raises(ValueError, match="line 1 has 1 words, but 2 tags"):
        read_tagged_table(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text('{"words": ["a"], "tags": [3]}')
    with pytest.raises(ValueError, match="line 1 has tags with 3; every entry must be text"):
        read_tagged_table(tmp_path / "x.jsonl")
