"""Tables: the four formats give the same rows, texts keep every letter, and errors name the line."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.tasks.tables import Row, read_table, read_texts
from tests.support.corpora import write_rows

ROWS = [{"review": 'He said "no', "stars": "5"}, {"review": "na\u00efve, a\u2028b", "stars": "1"}]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    tabs = "".join(f"{row['review']}\t{row['stars']}\n" for row in ROWS)
    write_rows(tmp_path / "x.parquet", ROWS)
    files = [
        written(tmp_path / "x.tsv", "\ufeffreview\tstars\r\n" + tabs),
        written(tmp_path / "x.csv", 'review,stars\n"He said ""no",5\n"na\u00efve, a\u2028b",1\n'),
        written(tmp_path / "x.jsonl", "\n".join(map(json.dumps, ROWS))),
        tmp_path / "x.parquet",
    ]
    for file in files:
        assert [row.values for row in read_table(file)] == ROWS, file
        texts = read_texts(file, text="review", label="stars", read_label=Row.number)
        assert [(each.identifier, each.text, each.label) for each in texts] == [
            ("0", 'He said "no', 5.0),
            ("1", "na\u00efve, a\u2028b", 1.0),
        ]


def test_a_record_of_a_csv_may_span_lines_and_later_ones_keep_their_line(tmp_path: Path) -> None:
    file = written(tmp_path / "x.csv", 'text,label\n"two\nlines",a\nlast,b\n')
    rows = list(read_table(file))
    assert [(row.values["text"], row.where.split(", ")[1]) for row in rows] == [
        ("two\nlines", "line 2"),
        ("last", "line 4"),
    ]


def test_a_cell_of_a_csv_may_be_as_long_as_a_line(tmp_path: Path) -> None:
    long = "word " * 30_000
    (row,) = read_table(written(tmp_path / "x.csv", f"text,label\n{long},a\n"))
    assert row.text("text") == long


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "a\tb\n1\t2\n3\n", "line 3 has 1 field, but the header has 2"),
        ("x.tsv", "a\ta\n1\t2\n", "line 1 names a column twice"),
        ("x.tsv", "a\tb\n", "holds no rows"),
        ("x.csv", "", "holds no rows"),
        ("x.csv", 'a,b\n1,2\n"3"x,4\n', "line 3 is not a record of a CSV"),
        ("x.csv", 'a,b\n1,2\n"3,4\n', "line 3 is not a record of a CSV"),
        ("x.jsonl", '{"a": 1}\n[1]\n', r"line 2 holds \[1\], which must be an object"),
        ("x.json", '[\n {"a": 1}\n]\n', r"line 1 begins an array; a table in JSON has an object in every line"),
        ("x.jsonl", '{"a": "\\ud800"}\n', "line 1 holds half of a surrogate pair"),
        ("x.jsonl", '{"a": NaN}\n', "line 1 cannot be read as JSON"),
        ("x.parquet", "PAR1 and no more", "is not a whole parquet file"),
        ("x.xlsx", "", r"must end in one of \.tsv, \.csv"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        list(read_table(written(tmp_path / name, content)))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (Row.class_name, "pos", "pos"),
        (Row.class_name, 3, "3"),
        (Row.class_name, True, "true"),
        (Row.number, "2.5", 2.5),
        (Row.number, 4, 4.0),
        (Row.whole_number, "3", 3),
        (Row.class_names, "a, b", ("a", "b")),
        (Row.class_names, ["a", 2], ("a", "2")),
        (Row.class_names, "", ()),
        (Row.class_names, [], ()),
    ],
)
def test_values_of_a_column(read: Any, value: object, expected: object) -> None:
    assert read(Row({"label": value}, "x, line 1"), "label") == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (Row.text, 3),
        (Row.text, None),
        (Row.class_name, ""),
        (Row.class_name, None),
        (Row.class_name, ["a"]),
        (Row.number, "five"),
        (Row.number, "nan"),
        (Row.number, True),
        (Row.number, 10**400),
        (Row.whole_number, 1.5),
        (Row.whole_number, "-1"),
        (Row.class_names, ["a", None]),
        (Row.class_names, "a,,b"),
        (Row.class_names, {"a": 1}),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_line(read: Any, value: object) -> None:
    with pytest.raises(ValueError, match=r"^x, line 7 has label=.*, which must be "):
        read(Row({"label": value}, "x, line 7"), "label")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    file = written(tmp_path / "x.csv", "review,stars\ngood,5\n")
    said = r"x\.csv, line 2 has no column 'label'; it has review, stars$"
    with pytest.raises(ValueError, match=rf"^task\.label=label, but .*{said}"):
        read_texts(file, text="review", label="label")
    with pytest.raises(ValueError, match=rf"^labeled\.label=label, but .*{said}"):
        read_texts(file, text="review", label="label", group="labeled.")


def test_a_value_of_another_kind_is_refused_with_the_setting_and_the_columns(tmp_path: Path) -> None:
    file = written(tmp_path / "x.csv", "review,stars\ngood,five\n")
    said = r"line 2 has stars='five', which must be a finite number; the columns are review, stars$"
    with pytest.raises(ValueError, match=rf"^task\.label=stars, but .*{said}"):
        read_texts(file, text="review", label="stars", read_label=Row.number)


@pytest.mark.parametrize(("labels", "read_label", "expected"), [
    (["", ""], Row.class_names, [None, None]),
    (["", "a"], Row.class_names, [(), ("a",)]),
    (["", " "], Row.class_name, [None, None]),
    (["", ""], Row.number, [None, None]),
    (["0", "1.5"], Row.number, [0, 1.5]),
])  # fmt: skip
def test_a_test_file_whose_labels_are_all_empty_has_none(
    tmp_path: Path, labels: list[str], read_label: Any, expected: list[object]
) -> None:
    path = written(tmp_path / "test.csv", "text,label\n" + "".join(f"some words,{label}\n" for label in labels))
    read = read_texts(path, "text", None, "label", read_label=read_label, needs_labels=False)
    assert [each.label for each in read] == expected


def test_files_that_need_labels_may_have_empty_sets_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "train.csv", "text,label\nsome words,\nsome words,\n")
    assert [each.label for each in read_texts(path, "text", None, "label", read_label=Row.class_names)] == [(), ()]
    for read_label in (Row.class_name, Row.number):
        with pytest.raises(ValueError, match=r"^task\.label=label, but .*line 2 has label='', which must be"):
            read_texts(path, "text", None, "label", read_label=read_label)


@pytest.mark.parametrize("labels", [["1", "null"], ["null", "1"]])
@pytest.mark.parametrize("read_label", [Row.class_name, Row.number])
def test_an_empty_label_among_others_is_refused_in_a_test_file_too(
    tmp_path: Path, labels: list[str], read_label: Any
) -> None:
    path = written(tmp_path / "test.jsonl", "".join(f'{{"text": "a", "label": {label}}}\n' for label in labels))
    line = labels.index("null") + 1
    with pytest.raises(ValueError, match=rf"test\.jsonl, line {line} has label=None, which must be "):
        read_texts(path, "text", None, "label", read_label=read_label, needs_labels=False)
