"""Preparation: what is in the folder, that it does not depend on how it was made; wrong input leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from bert_lightning.prepare import main
from data_pipeline.corpora.books import Books
from data_pipeline.corpora.reader import FileReader
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.preparation import tokenization, work_folder
from data_pipeline.preparation.deduplication import MinHashDeduplication
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.extraction import group_parts, is_held_out, unit_hashes
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from tests.support.checkout import checkout_environment, run_command
from tests.support.corpora import contents, identifiers, read_shard, reader, write_corpus
from tests.support.file_systems import resize, small_file_system
from tests.support.texts import tiny_texts

SETTINGS = {"vocab_size": 120}


def prepare(
    source: Path, output: Path, workers: int = 1, kind: type[FileReader] = TextLines, **changes: float
) -> Manifest:
    settings = Preparation(output, validation_fraction=0.2, shard_tokens=2000, group_bytes=4000)
    manifest, _ = replace(settings, **changes).run(
        [reader(source, kind)], lambda texts: train_wordpiece(texts(), 120), SETTINGS, LocalExecutor(workers)
    )
    return manifest


def finished(work: Path, stage: str) -> list[Path]:
    """The marks of the finished tasks of a stage."""
    return list(work.glob(f"*/tasks/{stage}/completions/*"))


def test_every_sentence_is_there_once_in_its_split(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    manifest = prepare(source, tmp_path / "out")
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer")
    expected: dict[str, list[list[int]]] = {"train": [], "validation": []}
    for file in range(6):
        for identifier, document in zip(identifiers(source, file), tiny_texts(20, seed=file), strict=True):
            split = "validation" if is_held_out(identifier, 0.2) else "train"
            expected[split] += [tokenizer.encode(sentence, add_special_tokens=False).ids for sentence in document]
    for split, sentences in expected.items():
        found = []
        for entry in manifest.splits[split]:
            shard = read_shard(tmp_path / "out", entry)
            ends = shard.sentence_offsets.tolist()
            found += [shard.tokens[a:b].tolist() for a, b in pairwise(ends)]
        assert found == sentences
    assert manifest.totals("train")["documents"] + manifest.totals("validation")["documents"] == 120
    assert len(manifest.splits["train"]) > 6
    assert min(entry.documents for entry in manifest.splits["train"]) >= 2


def test_the_result_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    for workers in (1, 3):
        prepare(source, tmp_path / f"out{workers}", workers)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out1", "out3", "text"]


def test_the_held_out_split_depends_on_identifiers_alone() -> None:
    held_out = [is_held_out(f"d{i}", 0.1) for i in range(20_000)]
    assert abs(sum(held_out) / 20_000 - 0.1) < 4 * (0.09 / 20_000) ** 0.5
    assert [is_held_out(f"d{i}", 0.2) for i in range(500) if held_out[i]] == [True] * sum(held_out[:500])


def test_groups_take_parts_in_order_and_do_not_mix_sources(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    readers = [reader(source), reader(source, Books)]
    groups = group_parts(readers, 4000)
    assert [part for group in groups for part in group.parts] == [p for r in readers for p in r.parts(4000)]
    assert all(part in group.reader.parts(4000) for group in groups for part in group.parts)
    assert all(sum(part.bytes or 0 for part in group.parts[:-1]) < 4000 for group in groups)


def test_preparing_again_does_nothing_and_another_preparation_is_refused(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    first = prepare(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert prepare(source, tmp_path / "out") == first
    with pytest.raises(ValueError, match="holds another preparation: shard_tokens was 2000 and is 3000; choose"):
        prepare(source, tmp_path / "out", shard_tokens=3000)
    (source / "0.txt").write_text("Changed.\n")
    with pytest.raises(ValueError, match=r"input_sha256, the hash of the input files, was .* and is "):
        prepare(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_text("\n\n")


def single(folder: Path) -> None:
    empty(folder)
    (folder / "0.txt").write_text("The only document.\nIt has two sentences.\n")


def few(folder: Path) -> None:
    empty(folder)
    for number in range(7):
        (folder / f"{number}.txt").write_text("A document of one sentence.\n")


@pytest.mark.parametrize(
    ("spoil", "changes", "said"),
    [
        (empty, {}, "the corpus is empty"),
        (single, {}, "a single document"),
        (few, {"validation_fraction": 0.001}, r"validation_fraction=0\.001 of 7 documents leaves 0"),
        (lambda folder: (folder / "3.txt").write_bytes(b"\xff\xfe\xff"), {}, r"3\.txt, line 1 is not UTF-8"),
    ],
)
def test_wrong_input_is_named_and_writes_no_output(
    tmp_path: Path, spoil: Callable[[Path], None], changes: dict[str, float], said: str
) -> None:
    source = write_corpus(tmp_path / "text")
    spoil(source)
    work = tmp_path / ".out.preparing"
    kept = f"finished work is kept in {work}, and a rerun with the same input continues there"
    with pytest.raises(ValueError, match=rf"{said}.*; {kept}"):
        prepare(source, tmp_path / "out", **changes)
    assert sorted(path.name for path in tmp_path.iterdir()) == [work.name, "text"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    with pytest.raises(ValueError, match="is not empty and not a prepared folder"):
        prepare(source, source)
    assert len(list(tmp_path.iterdir())) == 1


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"validation_fraction.*1\.5"):
        Preparation(tmp_path, validation_fraction=1.5)
    with pytest.raises(ValueError, match="shard_tokens must be a whole number, at least 1; got 0"):
        Preparation(tmp_path, shard_tokens=0)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_preparation_continues_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 of everything, then of the command alone: its workers go on while the next run begins."""
    source = write_corpus(tmp_path / "text", files=24, documents=60)
    arguments = [
        *("corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=120", "validation_fraction=0.1"),
        *("group_bytes=4000", "shard_tokens=3000", "executor.workers=2"),
    ]
    assert run_command("prepare", *arguments, f"output_dir={tmp_path / 'whole'}", cwd=tmp_path).returncode == 0
    again = [*arguments, f"output_dir={tmp_path / 'killed'}"]
    work = tmp_path / ".killed.preparing"
    for stage, kill in (("extract", os.killpg), ("tokenize", os.kill)):
        command = [sys.executable, "-m", "bert_lightning.prepare", *again]
        process = subprocess.Popen(command, cwd=tmp_path, env=checkout_environment(), start_new_session=True)
        while process.poll() is None and len(finished(work, stage)) < 2:
            time.sleep(0.01)
        kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed").exists()
    done = run_command("prepare", *again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not work.exists()
    deadline = time.monotonic() + 30
    while group_exists(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_exists(process.pid)


def test_a_killed_preparation_does_not_continue_with_files_changed_since(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")

    def interrupted(texts: Callable[[], Sequence[str]]) -> Tokenizer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Preparation(tmp_path / "out", validation_fraction=0.2, shard_tokens=2000, group_bytes=4000).run(
            [reader(source)], interrupted, SETTINGS, LocalExecutor(1)
        )
    assert finished(tmp_path / ".out.preparing", "extract")
    old = (source / "0.txt").read_text()
    (source / "0.txt").write_text(old.replace("the king", "the QUIN"))
    prepare(source, tmp_path / "out")
    prepare(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_file_is_noticed_that_changed_in_the_middle_with_its_size_and_time_kept(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text")
    prepare(source, tmp_path / "out")
    changed = source / "3.txt"
    before, content = changed.stat(), changed.read_bytes()
    middle = len(content) // 2
    changed.write_bytes(content[:middle] + b"z" + content[middle + 1 :])
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ValueError, match=r"input_sha256, the hash of the input files, was .* and is "):
        prepare(source, tmp_path / "out")
    changed.write_bytes(content)
    assert changed.stat().st_mtime_ns != before.st_mtime_ns
    assert prepare(source, tmp_path / "out").splits["train"]


@pytest.mark.parametrize("deduplication", [None, MinHashDeduplication(num_buckets=2)], ids=["all", "unique"])
def test_memory_is_the_same_for_twice_the_corpus(
    tmp_path: Path, tokenizer: Tokenizer, deduplication: MinHashDeduplication | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "CHARACTERS_AT_A_TIME", 10_000)

    def peak(documents: int) -> int:
        source = write_corpus(tmp_path / f"text{documents}", files=1, documents=documents)
        settings = Preparation(
            tmp_path / f"out{documents}", 0.2, 4000, group_bytes=1 << 40, deduplication=deduplication
        )
        tracemalloc.start()
        settings.run([reader(source)], lambda _: tokenizer, {}, LocalExecutor(1))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(50)
    assert peak(800) < 1.2 * peak(400)


def test_every_shard_has_two_documents_though_every_file_has_one(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "books", files=9)
    manifest = prepare(source, tmp_path / "out", kind=Books, validation_fraction=0.0, group_bytes=1)
    assert [entry.documents for entry in manifest.splits["train"]] == [2, 2, 2, 3]
    assert not (tmp_path / "out" / "validation").exists()


def test_what_had_no_text_or_no_token_is_counted(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text", files=1)
    (source / "1.txt").write_text("\u200e\n\u200e\n\nThe king.\n\u200e\n")  # no white space, and no token
    manifest, counts = Preparation(tmp_path / "out", validation_fraction=0.2).run(
        [reader(source)], lambda texts: train_wordpiece(texts(), 120), SETTINGS, LocalExecutor(1)
    )
    assert counts["documents"] == 22
    assert counts["dropped: sentence without a token"] == 3
    assert counts["dropped: document without a token"] == 1
    assert sum(manifest.totals(split)["documents"] for split in manifest.splits) == 21


def test_shards_say_which_source_they_are_from(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "a", files=3), write_corpus(tmp_path / "b", files=2)
    sources = [reader(first), reader(second, Books, "two")]
    manifest, _ = Preparation(tmp_path / "out", validation_fraction=0.0, group_bytes=1 << 14).run(
        sources, lambda texts: train_wordpiece(texts(), 120), SETTINGS, LocalExecutor(1)
    )
    found = [entry.source for entry in manifest.splits["train"]]
    assert found == sorted(found)
    assert set(found) == {"tiny", "two"}
    assert Manifest.load(tmp_path / "out") == manifest


def identifiers_by_shard(folder: Path, split: str) -> list[list[str]]:
    """The identifiers in each shard of a split."""
    found = []
    for path in sorted((folder / split).glob("*.tar")):
        with tarfile.open(path) as shard:
            blocks = [shard.extractfile(name) for name in shard.getnames() if name.endswith(".json")]
            found.append([name for block in blocks if block for name in json.load(block)["identifiers"]])
    return found


def test_copies_of_a_document_lie_in_different_shards(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path / "a", files=2), write_corpus(tmp_path / "b", files=2)
    about = {"licence": "public domain", "origin": "made by the tests"}
    sources = [reader(first), Books(name="books", path=second, weight=3, **about)]
    Preparation(tmp_path / "out", validation_fraction=0.0).run(
        sources, lambda texts: train_wordpiece(texts(), 120), SETTINGS, LocalExecutor(1)
    )
    shards = identifiers_by_shard(tmp_path / "out", "train")
    assert all(len(set(shard)) == len(shard) >= 2 for shard in shards)
    copies = Counter(name for shard in shards for name in shard)
    assert Counter(copies.values()) == {1: 40, 3: 2}


@pytest.mark.parametrize("fraction", [0.001, 1e-9])
def test_a_fraction_that_is_too_small_for_the_corpus_holds_two_documents_out(tmp_path: Path, fraction: float) -> None:
    source = write_corpus(tmp_path / "text")
    weighted = TextLines(name="tiny", path=source, licence="public domain", origin="made by the tests", weight=2)
    manifest, counts = Preparation(tmp_path / "out", validation_fraction=fraction, group_bytes=4000).run(
        [weighted], lambda texts: train_wordpiece(texts(), 120), SETTINGS, LocalExecutor(1)
    )
    names = [name for file in range(6) for name in identifiers(source, file)]
    lowest = sorted(sorted(names, key=lambda name: unit_hashes(name)[0])[:2])
    assert [sorted(shard) for shard in identifiers_by_shard(tmp_path / "out", "validation")] == [lowest]
    train = Counter(name for shard in identifiers_by_shard(tmp_path / "out", "train") for name in shard)
    assert train == {name: 2 for name in names if name not in lowest}
    assert counts["documents"] == manifest.sources[0].documents == 120


def test_work_that_is_still_right_is_kept_when_a_setting_is_corrected(tmp_path: Path) -> None:
    source, work = write_corpus(tmp_path / "text"), tmp_path / ".out.preparing"

    def run(make: Callable[[Callable[[], Sequence[str]]], Tokenizer], **tokenizer: int) -> None:
        settings = Preparation(tmp_path / "out", validation_fraction=0.2, shard_tokens=2000, group_bytes=4000)
        settings.run([reader(source)], make, tokenizer, LocalExecutor(1))

    def extracted() -> list[tuple[Path, int]]:
        return sorted((path, path.stat().st_ino) for path in work.glob("*/text/train-*.jsonl"))

    with pytest.raises(ValueError, match=rf"vocab_size=12 is too small.*; finished work is kept in {work}"):
        run(lambda texts: train_wordpiece(texts(), 12), vocab_size=12)
    before = extracted()
    assert len(before) >= 6

    def corrected(texts: Callable[[], Sequence[str]]) -> Tokenizer:
        assert extracted() == before
        return train_wordpiece(texts(), 120)

    run(corrected, **SETTINGS)
    prepare(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert not work.exists()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"shard_tokens": 3000}, {"read", "unique", "held-out", "tokenizer", "entities"}),
        ({"sample_bytes": 3000}, {"read", "unique", "held-out"}),
        ({"deduplication": MinHashDeduplication()}, {"read"}),
        ({"filters": DocumentFilters({}, {"gopher": 1})}, set()),
        ({"validation_fraction": 0.3}, set()),
    ],
)
def test_a_stage_is_done_again_where_its_own_settings_or_what_it_is_made_of_changed(
    tmp_path: Path, changes: dict[str, Any], kept: set[str]
) -> None:
    source = write_corpus(tmp_path / "text")

    def named(preparation: Preparation) -> dict[str, str]:
        settings = preparation._settings([reader(source)], [], SETTINGS)
        return {name: stage.path.name for name, stage in preparation._stages(settings).items()}

    (tmp_path / ".out.preparing").mkdir()
    preparation = Preparation(tmp_path / "out", 0.2)
    first, second = named(preparation), named(replace(preparation, **changes))
    assert {name for name in first if first[name] == second[name]} == kept


def test_a_second_preparation_of_the_same_folder_is_refused_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_folder, "LOCK_SECONDS", 0.1)
    source = write_corpus(tmp_path / "text")

    def meanwhile(texts: Callable[[], Sequence[str]]) -> Tokenizer:
        with pytest.raises(ValueError, match=rf"another bert-prepare is at work in {tmp_path}/\.out\.preparing"):
            prepare(source, tmp_path / "out", shard_tokens=500)
        return train_wordpiece(texts(), 120)

    Preparation(tmp_path / "out", validation_fraction=0.2, shard_tokens=2000, group_bytes=4000).run(
        [reader(source)], meanwhile, SETTINGS, LocalExecutor(1)
    )
    prepare(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_the_same_corpus_by_another_path_is_the_same_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_corpus(tmp_path / "text")
    first = prepare(source, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    source.rename(tmp_path / "moved")
    for path in ("moved", "moved/*.txt", "./moved/../moved"):
        assert prepare(Path(path), tmp_path / "out") == first
    (tmp_path / "moved" / "0.txt").rename(tmp_path / "moved" / "00.txt")
    with pytest.raises(ValueError, match=r"input_sha256, the hash of the input files, was .* and is "):
        prepare(Path("moved"), tmp_path / "out")


def test_everything_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_corpus(tmp_path / "text")
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        assert {file.stat().st_ino for file in [path, *path.rglob("*")]} <= synced
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    prepare(source, tmp_path / "out")
    assert tmp_path.stat().st_ino in synced


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 400 kB."""
    with small_file_system(tmp_path / "disk", "400k") as folder:
        yield folder


def test_a_full_disk_is_one_line_and_with_room_the_run_goes_on(tmp_path: Path, small_disk: Path) -> None:
    source = write_corpus(tmp_path / "text", documents=200)
    work = small_disk / ".out.preparing"
    with pytest.raises(OSError, match=f"the disk of {work} is full; finished work is kept in {work}"):
        prepare(source, small_disk / "out")
    assert not (small_disk / "out").exists()
    resize(small_disk, "100m")
    prepare(source, small_disk / "out")
    prepare(source, tmp_path / "out")
    assert contents(small_disk / "out") == contents(tmp_path / "out")


def test_folders_made_for_the_output_go_again_where_the_input_is_wrong(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text", files=2)
    for file in source.iterdir():
        file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"0\.txt, line 1 is not UTF-8.*1\.txt, line 1 is not UTF-8.* may be larger$"):
        prepare(source, tmp_path / "new" / "deep" / "out", group_bytes=1 << 30)
    with pytest.raises(ValueError, match=r"0\.txt is not empty and not a prepared folder"):
        prepare(source, source / "0.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run bert-prepare in this process: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bert-prepare", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run


def test_another_vocabulary_under_the_same_name_is_another_preparation(tmp_path: Path, command: Command) -> None:
    source = write_corpus(tmp_path / "text")
    vocabulary = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "king"]
    arguments = ["corpus=text", f"corpus.path={source}", "validation_fraction=0.2", "executor.workers=1"]
    arguments += [f"tokenizer.path={vocabulary}", f"output_dir={tmp_path / 'out'}"]
    vocabulary.write_text("\n".join(tokens))
    assert command(*arguments)[0] == 0
    code, shown, _ = command(*arguments)
    assert (code, "nothing to do" in shown) == (0, True)
    vocabulary.write_text("\n".join([*tokens[:5], "king", "the"]))
    code, _, shown = command(*arguments)
    assert code == 2
    assert "holds another preparation: tokenizer.sha256 was " in shown


def test_a_mixture_is_made_on_the_command_line(tmp_path: Path, command: Command) -> None:
    for name, files in (("text", 6), ("more", 2)):
        write_corpus(tmp_path / name, files)
    sources = ["+corpus@corpus.a=text", "corpus.a.path=text", "+corpus@corpus.b=text", "corpus.b.path=more"]
    settings = ["corpus.b.name=small", "corpus.b.language=de", "corpus.temperature=2", "formatters=pii"]
    settings += ["validation_fraction=0.2"]
    command("corpus=mixture", *sources, *settings, "output_dir=out", "tokenizer.vocab_size=120", "executor.workers=1")
    manifest = Manifest.load(tmp_path / "out")
    assert [source.name for source in manifest.sources] == ["text", "small"]
    assert manifest.sources[0].weight == 1
    assert 1.5 < manifest.sources[1].weight < 2
    assert "pii" in dict(manifest.settings["formatters"])


def test_wrong_commands_are_one_line_and_leave_nothing(tmp_path: Path, command: Command) -> None:
    source = write_corpus(tmp_path / "text")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n")
    output = f"output_dir={tmp_path / 'out'}"
    for arguments, said in [
        (["corpus=text", "corpus.path=/nowhere"], "path=/nowhere names no file"),
        (["corpus=wikipedia_dump", f"corpus.path={source}"], "names no file that this corpus reads; it has *.txt"),
        (["corpus=text", f"corpus.path={source}", f"tokenizer.path={vocabulary}"], "the vocabulary has no [MASK]"),
        (["corpus=text", f"corpus.path={source}", "corpus.pth=1"], "corpus.pth"),
        (["corpus=nothing"], "there is no corpus=nothing; there are bookcorpus, books, csv"),
        (["corpus=text"], "corpus.path"),
        (
            ["corpus=text", f"corpus.path={source}", "shard_tokens=many"],
            "shard_tokens must be a whole number, at least 1",
        ),
        (
            ["corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=no"],
            "tokenizer.vocab_size must be a whole number, at least 1; got",
        ),
    ]:
        code, _, shown = command(*arguments, output)
        errors = [line for line in shown.splitlines() if line.startswith("error: ")]
        assert code == 2, shown
        assert len(errors) == 1
        assert said in errors[0]
        assert "Traceback" not in shown
        assert sorted(path.name for path in tmp_path.iterdir()) == ["text", "vocab.txt"]


def test_the_manifest_says_what_a_reader_is_owed(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "books")
    prepare(source, tmp_path / "out", kind=Books, validation_fraction=0.0)
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (about,) = content["sources"]
    assert (about["licence"], about["documents"]) == ("public domain", 6)
    assert about["titles"] == ["0", "1", "2", "3", "4", "5"]
    assert content["splits"]["validation"] == []
