"""SQuAD: the real files and their counts, both versions, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.task_records import Answer
from tests.support.checkout import SHARED_DATA

REAL = {
    "dev-v1.1.rebuilt.json": (10570, 0, 34726),
    "dev-v2.0.rebuilt.json": (11873, 5945, 20302),
    "squadshifts-new_wiki.json": (7938, 0, 22794),
    "train-v1.1-first-articles.json": (4372, 0, 4372),
    "train-v2.0-first10articles.json": (4719, 348, 4371),
}


def squad_json(*entries: dict[str, Any], context: str = "In 1191 the duke built Bern.") -> str:
    return json.dumps(
        {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": entries}]}]}
    )


def entry(identifier: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": identifier, "question": "When?", "answers": [{"text": "1191", "answer_start": 3}], **fields}


def answered(text: str, start: int) -> str:
    return squad_json(entry(answers=[{"text": text, "answer_start": start}]))


def read(folder: Path, content: str) -> Any:
    (folder / "x.json").write_text(content)
    return read_squad(folder / "x.json")


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    questions = read_squad(SHARED_DATA / "squad" / name)
    answers = [(q, answer) for q in questions for answer in q.answers]
    assert (len(questions), sum(q.is_impossible for q in questions), len(answers)) == REAL[name]
    assert all(q.context[a.start : a.start + len(a.text)] == a.text for q, a in answers)


def test_impossible_questions_have_no_answers(tmp_path: Path) -> None:
    impossible = entry("b", answers=[], is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 0}])
    first, second = read(tmp_path, squad_json(entry(), impossible))
    assert (first.answers, first.is_impossible) == ((Answer("1191", 3),), False)
    assert (second.answers, second.is_impossible) == ((), True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (answered("1191", 4), "has the answer '1191', but its context has '191 ' at answer_start=4"),
        (answered("1191", 900), "has the answer '1191', but its context has '' at answer_start=900"),
        (answered("", 3), "has the answer '', but its context has ''"),
        (squad_json(entry(), entry()), r"qas\[1\] has the id of another question: 'a'"),
        (squad_json(entry(answers=[{"text": 3, "answer_start": 3}])), r"qas\[0\].answers\[0\].text=3, which must"),
        (squad_json(entry(answers=[{"text": "x", "answer_start": "3"}])), r"answer_start='3', which must be a whole"),
        (squad_json(), "holds no questions"),
        (json.dumps({"data": [{"paragraphs": [{"qas": []}]}]}), r"lacks data\[0\].paragraphs\[0\].context"),
        (json.dumps({"questions": []}), "lacks data"),
        ("[]", "must be an object with named entries"),
        ('{"data": [', "cannot be read as JSON"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert "x.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.json cannot be read: No such file"):
        read_squad(tmp_path / "x.json")
