"""The manifest: there and back, atomic, and refused where it is not one."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data_pipeline.prepared import manifest as manifests
from data_pipeline.prepared.manifest import FILE_NAME, Manifest, SideFile


def test_it_survives_the_disk(prepared: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(prepared)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_optional_keys_of_later_programs_are_ignored(prepared: Path, tmp_path: Path) -> None:
    """Files beside shards of other kinds, and keys of the manifest, of its sources and of its shards."""
    content = json.loads((prepared / FILE_NAME).read_text())
    del content["sha256"]
    content["colors"] = ["red"]
    content["sources"][0]["shade"] = 1
    shard = content["splits"]["train"][0]
    shard["warmth"] = 3
    shard["side_files"]["spans"] = {"bytes": 7, "sha256": "0", "zipped": True}
    version = content.pop("format_version")
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (tmp_path / FILE_NAME).write_text(json.dumps(content | {"format_version": version}))
    manifest, expected = Manifest.load(tmp_path), Manifest.load(prepared)
    entry = manifest.splits["train"][0]
    assert entry.side_files.pop("spans") == SideFile(7, "0")
    assert manifest == expected


def test_a_manifest_that_is_too_long_to_be_read_is_not_written(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest.load(prepared)
    manifest.save(tmp_path)
    size = (tmp_path / FILE_NAME).stat().st_size
    monkeypatch.setattr(manifests, "LARGEST_MANIFEST", size)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    monkeypatch.setattr(manifests, "LARGEST_MANIFEST", size - 1)
    with pytest.raises(ValueError, match=rf"would have {size} bytes .*is read is {size - 1}; a larger shard_tokens"):
        manifest.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_content_hash_sees_shards_their_order_and_the_tokenizer(prepared: Path) -> None:
    manifest = Manifest.load(prepared)
    train = manifest.splits["train"]
    others = [
        replace(manifest, tokenizer_sha256="x"),
        replace(manifest, splits={**manifest.splits, "train": train[::-1]}),
        replace(manifest, splits={**manifest.splits, "train": [replace(train[0], sha256="x"), *train[1:]]}),
    ]
    assert len({m.content_sha256 for m in (manifest, *others)}) == 4
    assert replace(manifest, sources=[]).content_sha256 == manifest.content_sha256


def test_totals_are_sums_over_the_shards(prepared: Path) -> None:
    manifest = Manifest.load(prepared)
    assert manifest.totals("train")["documents"] == 9 * 12
    assert manifest.totals("validation")["tokens"] == manifest.splits["validation"][0].tokens


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "is not a folder prepared by bert-prepare"),
        ("not json", "is damaged"),
        ("[]", "is damaged"),
        (
            {"format_version": 1},
            "has format_version 1, this version of bert-lightning reads 2 and 3; prepare the data again",
        ),
        ({"vocab_size": 7}, "was edited or damaged"),
        ({"more": 1}, "was edited or damaged"),
        ({"sha256": None}, "was edited or damaged"),
    ],
    ids=str,
)
def test_what_is_not_a_manifest_is_refused(prepared: Path, tmp_path: Path, change: object, said: str) -> None:
    content = json.loads((prepared / FILE_NAME).read_text())
    if isinstance(change, dict):
        (tmp_path / FILE_NAME).write_text(json.dumps(content | change))
    elif change:
        (tmp_path / FILE_NAME).write_text(str(change))
    with pytest.raises(ValueError, match=rf"{tmp_path}.* {said}"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("a shard taken out", lambda splits: splits["train"].pop()),
        ("two shards swapped", lambda splits: splits["train"].reverse()),
        ("a count raised", lambda splits: splits["train"][0].update(tokens=splits["train"][0]["tokens"] + 1)),
        ("another sha256", lambda splits: splits["train"][0].update(sha256="0" * 64)),
    ],
)
def test_an_edit_by_hand_is_refused(
    prepared: Path, tmp_path: Path, name: str, edit: Callable[[dict[str, list[dict[str, object]]]], None]
) -> None:
    content = json.loads((prepared / FILE_NAME).read_text())
    edit(content["splits"])
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"manifest\.json was edited or damaged after it was written"):
        Manifest.load(tmp_path)


def test_spaces_and_line_breaks_are_no_edit(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps(json.loads((prepared / FILE_NAME).read_text())))
    assert Manifest.load(tmp_path) == Manifest.load(prepared)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "/etc/passwd"}, "named '/etc/passwd'"),
        ({"name": "train/../../x.tar"}, r"named 'train/\.\./\.\./x\.tar'"),
        ({"name": "train/$(touch owned).tar"}, "a name is letters, digits"),
        ({"name": "-rf"}, "named '-rf'"),
        ({"name": ""}, "named ''"),
        ({"name": "a.tar\n"}, "named 'a.tar"),
        ({"name": 7}, r"splits\.train\[0\]\.name=7, which must be text"),
        ({"name": "train/part-00001.tar"}, "lists shard train/part-00001.tar twice"),
        ({"bytes": 0}, r"shard train/part-00000\.tar has 0 bytes"),
        ({"tokens": -3}, r"splits\.train\[0\]\.tokens=-3, which must be a whole number"),
        ({"documents": "12"}, r"splits\.train\[0\]\.documents='12'"),
        ({"blocks": True}, r"splits\.train\[0\]\.blocks=True"),
        ({"side_files": {"../x": SideFile(1, "")}}, r"a side file '\.\./x' of 1 bytes"),
        ({"side_files": {"lengths": SideFile(0, "")}}, "a side file 'lengths' of 0 bytes"),
    ],
    ids=str,
)
def test_names_that_leave_the_folder_and_counts_that_are_none_are_refused(
    prepared: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """Also where the manifest's own hash is right: who makes one can also hash it."""
    manifest = Manifest.load(prepared)
    train = manifest.splits["train"]
    replace(manifest, splits={"train": [replace(train[0], **change), *train[1:]]}).save(tmp_path)
    with pytest.raises(ValueError, match=rf"manifest\.json .*{said}"):
        Manifest.load(tmp_path)


def resigned(prepared: Path, folder: Path, change: dict[str, object]) -> None:
    """Write a manifest with other fields and the hash that fits them: who makes one can also hash it."""
    content = json.loads((prepared / FILE_NAME).read_text()) | change
    version = content.pop("format_version")
    del content["sha256"]
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / FILE_NAME).write_text(json.dumps({"format_version": version, "sha256": sha256, **content}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": "120"}, "has vocab_size='120', which must be a whole number"),
        ({"vocab_size": 10**12}, "has vocab_size=1000000000000, which must be a whole number from 1 to"),
        ({"vocab_size": -1}, "has vocab_size=-1"),
        ({"tokenizer_sha256": "../../.."}, r"gives 'tokenizer' the sha256 '\.\./\.\./\.\.'"),
        ({"tokenizer_sha256": None}, "has tokenizer_sha256=None, which must be text"),
        ({"settings": []}, r"has settings=\[\], which must be an object"),
        ({"sources": {}}, r"has sources=\{\}, which must be a list"),
        ({"sources": [{"name": 5}]}, r"lacks sources\[0\]\.licence"),
        ({"splits": []}, r"has splits=\[\], which must be an object"),
        ({"splits": {"train": [[]]}}, r"has splits\.train\[0\]=\[\], which must be an object"),
    ],
    ids=str,
)
def test_absurd_fields_are_named_though_the_hash_fits(
    prepared: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    resigned(prepared, tmp_path, change)
    with pytest.raises(ValueError, match=rf"manifest\.json {said}"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"format_version": ' + "9" * 10_000 + "}"])
def test_nesting_and_numbers_without_end_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: it ") as error:
        Manifest.load(tmp_path)
    assert len(str(error.value)) < 500


def test_a_manifest_is_a_plain_file_of_limited_length(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"manifest\.json is a link to /dev/zero"):
        Manifest.load(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with (tmp_path / FILE_NAME).open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    with pytest.raises(ValueError, match=r"manifest\.json is longer than \d+ bytes"):
        Manifest.load(tmp_path)
