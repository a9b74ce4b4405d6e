"""Only plain files inside a folder are read; the links of Hugging Face's cache lead to its own blobs."""

import os
from pathlib import Path

import pytest

from data_pipeline.untrusted.plain_files import has_file, plain_file, read_plain, read_plain_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text("{}")
    return tmp_path / "folder"


def test_plain_files_are_read(folder: Path) -> None:
    assert has_file(folder, "a.json")
    assert read_plain_text(folder, "a.json") == "{}"
    (folder.parent / "by_link").symlink_to(folder)  # the way to the folder is the user's
    assert read_plain(folder.parent / "by_link", "a.json") == b"{}"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", ".", "", "sub/a.json", "a.json\n", "a\x00", "a\\b", "-rf", "a b"]
)
def test_names_of_more_than_a_file_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a file inside it"):
        plain_file(folder, name)


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "nowhere", "loop", "a.json"])
def test_links_are_refused(folder: Path, target: str) -> None:
    (folder / "loop").symlink_to(target)
    assert has_file(folder, "loop")
    with pytest.raises(ValueError, match=f"loop is a link to {target}; only plain files"):
        read_plain(folder, "loop")


def test_what_is_not_a_file_is_refused_without_waiting_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    assert has_file(folder, "pipe")
    assert not has_file(folder, "sub")
    for name in ("pipe", "sub"):
        with pytest.raises(ValueError, match=f"{name} is not a plain file"):
            read_plain(folder, name)
    with pytest.raises(ValueError, match=r"has no b\.json"):
        read_plain(folder, "b.json")


def test_length_and_encoding_are_limited(folder: Path) -> None:
    (folder / "long").write_bytes(b"\xff" * 11)
    with pytest.raises(ValueError, match="long is longer than 10 bytes"):
        read_plain(folder, "long", 10)
    assert len(read_plain(folder, "long", 11)) == 11
    with pytest.raises(ValueError, match="long is not UTF-8 text"):
        read_plain_text(folder, "long")


def cache(tmp_path: Path, target: str) -> Path:
    """A folder as huggingface_hub lays it out, with a link to `target`."""
    model = tmp_path / "hub" / "models--org--name"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs" / "0abc").write_text("blob")
    (tmp_path / "hub" / "models--org--other" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "models--org--other" / "blobs" / "0abc").write_text("other")
    snapshot = model / "snapshots" / "12ab"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(target)
    (model / "blobs" / "out").symlink_to("/etc/passwd")
    return snapshot


def test_the_cache_of_hugging_face_is_read(tmp_path: Path) -> None:
    assert read_plain(cache(tmp_path, "../../blobs/0abc"), "config.json") == b"blob"


@pytest.mark.parametrize(
    "target",
    ["../../../models--org--other/blobs/0abc", "../../blobs/out", "../../blobs", "/etc/passwd", "../../blobs/gone"],
)
def test_a_link_of_the_cache_leads_to_a_blob_of_its_own_model(tmp_path: Path, target: str) -> None:
    with pytest.raises(ValueError, match=r"is a link to|is not a plain file|has no config\.json"):
        read_plain(cache(tmp_path, target), "config.json")
