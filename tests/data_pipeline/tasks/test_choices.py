"""Multiple choice: SWAG's CSV, CODAH and JSON lines; unequal numbers of choices are refused with both lines."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data_pipeline.tasks.choices import read_choices, read_codah, read_swag
from tests.support.checkout import SHARED_DATA

SWAG_HEADER = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"


def test_the_official_csv_of_swag(tmp_path: Path) -> None:
    row = '0,v_1,1,"A, B",She sits.,She,gold,"stands, then",falls.,sings.,leaves.,2\n'
    (tmp_path / "train.csv").write_text(SWAG_HEADER + row * 3)
    question = read_swag(tmp_path / "train.csv")[1]
    assert question.text == "She sits."
    assert question.choices == ("She stands, then", "She falls.", "She sings.", "She leaves.")
    assert (question.label, question.identifier, question.where[-6:]) == (2, "1", "line 3")
    (tmp_path / "test.csv").write_text(SWAG_HEADER.replace(",label", "") + row.replace(",2\n", "\n"))
    assert [question.label for question in read_swag(tmp_path / "test.csv")] == [None]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_real_files() -> None:
    codah = SHARED_DATA / "multiple-choice" / "codah"
    folds = [read_codah(codah / f"fold_0_{split}.tsv") for split in ("train", "dev", "test")]
    assert list(map(len, folds)) == [1665, 556, 555]
    every = read_codah(codah / "full_data.tsv")
    assert len(every) == 2776
    assert Counter(q.text for q in every) == Counter(q.text for fold in folds for q in fold)
    swag = read_swag(SHARED_DATA / "multiple-choice" / "swag-sample" / "sample.json")
    assert len(swag) == 10
    assert all(len(q.choices) == 4 and q.label in range(4) for q in [*swag, *every])


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_questions_of_ones_own(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", {"q": "Sky?", "options": ["red", "blue", "green"], "right": 1})
    (question,) = read_choices(file, text="q", choices="options", label="right")
    assert (question.text, question.choices, question.label) == ("Sky?", ("red", "blue", "green"), 1)
    assert read_choices(file, text="q", choices="options", label=None)[0].label is None


def test_another_number_of_choices_is_refused_with_both_lines(tmp_path: Path) -> None:
    three, four = ({"text": "t", "choices": ["a"] * count, "label": 0} for count in (3, 4))
    file = write(tmp_path / "x.jsonl", three, three, four)
    with pytest.raises(ValueError, match=r"x\.jsonl, line 3 has 4 choices, but .*x\.jsonl, line 1 has 3"):
        read_choices(file)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "t", "choices": ["a"], "label": 0}, "line 1 has 1 choice; at least 2"),
        ({"text": "t", "choices": ["a", "b"], "label": 2}, "line 1 has label=2, which must be from 0 to 1"),
        (
            {"text": "t", "choices": ["a", "b"], "label": "blue"},
            "line 1 has label='blue', which must be a whole number",
        ),
        ({"text": "t", "choices": "ab", "label": 0}, "line 1 has choices='ab', which must be a list of texts"),
        ({"text": "t", "choices": ["a", 2], "label": 0}, "must be a list of texts"),
        ({"text": "t", "label": 0}, "^task.choices=choices, but .*line 1 has no column 'choices'; it has text, label"),
    ],
)
def test_what_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_choices(write(tmp_path / "x.jsonl", row))


def test_what_is_no_file_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("o\tprompt\ta\tb\tc\td\t0\no\tprompt\ta\tb\n")
    with pytest.raises(ValueError, match="line 2 has 4 fields; CODAH has 7"):
        read_codah(tmp_path / "x.tsv")
    with pytest.raises(ValueError, match=r"line 1 has ending0, ending2; endings are numbered"):
        read_swag(write(tmp_path / "x.jsonl", {"sent1": "s", "sent2": "t", "ending0": "a", "ending2": "b"}))
    (tmp_path / "empty.tsv").touch()
    with pytest.raises(ValueError, match="holds no questions"):
        read_codah(tmp_path / "empty.tsv")
