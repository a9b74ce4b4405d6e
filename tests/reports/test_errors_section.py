"""Errors in a report: the matrix, the examples, and nothing that acts."""

import json
from pathlib import Path

import pytest

from bert_lightning.reports.errors_section import errors_section


def test_matrix_and_worst_errors_are_shown_and_escaped(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    worst = [{"id": "7", "text": "<script>x</script>", "label": "a", "prediction": "b", "loss": 2.0}]
    path.write_text(json.dumps({"labels": ["a", "b"], "confusion": [[3, 1], [0, 1200]], "worst": worst}))
    html = errors_section(path)
    assert "1,200</td>" in html
    assert "0.75)" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "2.000" in html


def test_no_file_no_section_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    assert errors_section(path) == ""
    path.write_text("{}")
    assert errors_section(path) == ""
    path.write_text('{"labels": 3}')
    with pytest.raises(ValueError, match=r"errors\.json has labels=3"):
        errors_section(path)
