"""A checkpoint that is not as it was written is found, whatever byte of its content is another one."""

import io
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bert_lightning.checkpoints import sharded_checkpoint
from bert_lightning.checkpoints.checkpoint import is_whole, latest_checkpoint, load_pretrained
from bert_lightning.checkpoints.folder_files import METADATA, METADATA_SHA256
from bert_lightning.checkpoints.integrity import damage, note_metadata
from bert_lightning.settings.run_folder import META
from tests.support.checkpoints import write_checkpoint, write_sharded_checkpoint


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def content_at(archive: bytes, header: int) -> int:
    """Where the content of a record begins whose header is at a position of a zip file."""
    name, extra = archive[header + 26 : header + 28], archive[header + 28 : header + 30]
    return header + 30 + int.from_bytes(name, "little") + int.from_bytes(extra, "little")


def records(path: Path) -> list[tuple[int, int]]:
    """Where the content of every record of a zip file begins and ends."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    content, found = path.read_bytes(), []
    for info in infos:
        begin = content_at(content, info.header_offset)
        found.append((begin, begin + info.file_size))
    return found


@pytest.fixture
def two_files(tmp_path: Path, tokenizer: Tokenizer) -> tuple[Path, Path]:
    older, newest = (tmp_path / "checkpoints" / f"step-{step:07d}.ckpt" for step in (5, 10))
    write_checkpoint(older, tokenizer, tmp_path / "tokenizer")
    shutil.copy(older, newest)
    return older, newest


def test_a_flipped_bit_in_any_record_of_a_file_is_found(tmp_path: Path, two_files: tuple[Path, Path]) -> None:
    older, newest = two_files
    content = newest.read_bytes()
    assert damage(newest) is None
    assert latest_checkpoint(tmp_path) == newest
    for begin, end in [*records(newest)[:6], *records(newest)[-6:]]:
        for position in {begin, (begin + end) // 2, end - 1}:
            newest.write_bytes(flipped(content, position))
            assert "is damaged: Bad CRC-32" in str(damage(newest))
            assert latest_checkpoint(tmp_path) == older
    with pytest.raises(
        ValueError, match=rf"checkpoint={newest} cannot be read, it is damaged .*: record .* is damaged"
    ):
        load_pretrained(newest)


def test_a_hole_in_the_weights_is_found(tmp_path: Path, two_files: tuple[Path, Path]) -> None:
    older, newest = two_files
    content = newest.read_bytes()
    begin, end = max(records(newest), key=lambda record: record[1] - record[0])
    newest.write_bytes(content[: begin + 64] + bytes(end - begin - 64) + content[end:])
    assert latest_checkpoint(tmp_path) == older


def test_bytes_of_a_folder_that_are_other_ones_are_found(tmp_path: Path, tokenizer: Tokenizer) -> None:
    older, newest = (tmp_path / "checkpoints" / f"step-{step:07d}.ckpt" for step in (5, 10))
    write_sharded_checkpoint(older, tokenizer, tmp_path / "tokenizer")
    assert is_whole(older)  # as earlier versions have written it
    shutil.copytree(older, newest)
    note_metadata(newest)
    assert latest_checkpoint(tmp_path) == newest
    for file in sorted(newest.iterdir()):
        content = file.read_bytes()
        if file.name in (METADATA, METADATA_SHA256):
            positions = {0, 63} if file.name == METADATA_SHA256 else {0, len(content) // 2, len(content) - 1}
        else:
            begins = [match.start() for match in re.finditer(b"PK\x03\x04", content)]
            positions = {content_at(content, begin) for begin in begins[:: max(1, len(begins) // 9)]}
        for position in positions:
            file.write_bytes(flipped(content, position))
            assert latest_checkpoint(tmp_path) == older, (file.name, position)
        file.write_bytes(content)
    assert latest_checkpoint(tmp_path) == newest


def test_an_archive_that_grows_when_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    assert path.stat().st_size < 1 << 16
    assert "compressed records" in str(damage(path))


def test_records_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A directory may name the same bytes many times over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 16))
        archive.filelist.extend(archive.filelist * 9)
    (tmp_path / "bomb.ckpt").write_bytes(buffer.getvalue())
    assert "claims more bytes than it has" in str(damage(tmp_path / "bomb.ckpt"))


def test_what_is_not_sharded_is_on_the_disk_before_its_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    assert sharded_checkpoint._write_meta({"global_step": 3}, tmp_path / "partial") is None
    assert synced == [(tmp_path / "partial" / META).stat().st_ino]
    assert sharded_checkpoint.read_meta(tmp_path / "partial") == {"global_step": 3}
