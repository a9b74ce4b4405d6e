"""The manifest: there and back, atomic, and refused where it is not one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_pipeline.manifest import FILE_NAME, Manifest


def test_it_survives_the_disk(prepared: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(prepared)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
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
        ({"format_version": 2}, "has format_version 2, this version of bert-lightning reads 1"),
        ({"splits": {"train": [{"name": "x"}]}}, "is damaged"),
    ],
)
def test_what_is_not_a_manifest_is_refused(prepared: Path, tmp_path: Path, change: object, said: str) -> None:
    content = json.loads((prepared / FILE_NAME).read_text())
    if isinstance(change, dict):
        (tmp_path / FILE_NAME).write_text(json.dumps(content | change))
    elif change:
        (tmp_path / FILE_NAME).write_text(str(change))
    with pytest.raises(ValueError, match=said):
        Manifest.load(tmp_path)
