"""JSON of others is an object of limited depth, or one line that names the file."""

import json
from pathlib import Path

import pytest

from data_pipeline.untrusted.bounded_json import MAX_DEPTH, parse_object, read_object


def nested(depth: int) -> str:
    """An object with so many levels, itself included."""
    return '{"a": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_an_object_is_returned_as_it_is() -> None:
    content = {"a": [1, 2.5, None, True, "ü"], "b": {"c": {}}}
    assert parse_object(json.dumps(content).encode(), "x.json") == content
    parse_object(nested(MAX_DEPTH), "x.json")


def test_a_file_is_read_if_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    assert read_object(file) is None
    file.write_text('{"a": 1}')
    assert read_object(file) == {"a": 1}
    (tmp_path / "link.json").symlink_to(file)
    with pytest.raises(ValueError, match=r"link\.json is a link to"):
        read_object(tmp_path / "link.json")
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"x\.json holds \[1\], which must be an object"):
        read_object(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"holds \[1\], which must be an object"),
        ("7", "holds 7, which must be an object"),
        ('"' + "a" * 10_000 + '"', r"holds 'a+\.\.\.a+', which must be an object"),
        ("", "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number of JSON"),
        ('{"a": ' + "9" * 10_000 + "}", "cannot be read as JSON"),
        (b'{"a": "\xff"}', "cannot be read as JSON"),
        (nested(MAX_DEPTH + 1), f"is nested more than {MAX_DEPTH} deep"),
        (nested(1_000_000), f"is nested more than {MAX_DEPTH} deep"),
        ('{"a":' * 100_000, f"is nested more than {MAX_DEPTH} deep"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_anything_else_is_one_line_that_names_the_file(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^x\.json {said}" if "NaN" not in said and "Inf" not in said else said) as e:
        parse_object(text, "x.json")
    assert len(str(e.value)) < 300
    assert "\n" not in str(e.value)
