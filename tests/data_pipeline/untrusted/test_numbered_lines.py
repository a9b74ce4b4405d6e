"""Lines with their numbers: ends, byte-order mark, and what is refused with the line."""

from pathlib import Path

import pytest

from data_pipeline.untrusted import numbered_lines as module
from data_pipeline.untrusted.numbered_lines import numbered_lines


def test_lines_lose_their_ends_and_the_mark(tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_bytes("\ufeffone\r\ntwo\u2028half\n\nlast".encode())
    assert list(numbered_lines(file)) == [(1, "one"), (2, "two\u2028half"), (3, ""), (4, "last")]


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.tsv"
    file.write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"x\.tsv, line 2 is not UTF-8 text"):
        list(numbered_lines(file))
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    file.write_bytes(b"one\n" + b"a" * 101)
    with pytest.raises(ValueError, match=r"x\.tsv, line 2 is longer than 100 bytes"):
        list(numbered_lines(file))
    with pytest.raises(ValueError, match=r"absent\.tsv cannot be read: No such file"):
        list(numbered_lines(tmp_path / "absent.tsv"))
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        list(numbered_lines(tmp_path))
