"""Near duplicates: against every pair compared in full, across files and splits, whatever kills the run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.preparation.deduplication import MinHashDeduplication, _Signatures, _Words
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.extracted_text import ExtractedText, ExtractionReport, record_line
from data_pipeline.preparation.extraction import is_held_out
from data_pipeline.preparation.work_folder import WorkFolder
from data_pipeline.prepared.manifest import Manifest
from tests.support.checkout import checkout_environment, run_command
from tests.support.corpora import contents


def word(number: int) -> str:
    """A word of letters: digits do not count, all numbers are the same to MinHash."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(4))


def varied(number: int, seed: int = 0, words: int = 120) -> list[list[str]]:
    """Documents of which every third is a copy with some words changed, from none of them to all."""
    numbers = np.random.default_rng(seed)
    documents: list[list[str]] = []
    for index in range(number):
        if index % 3 == 2:
            document = list(documents[index - 2])
            for place in np.flatnonzero(numbers.random(words) < numbers.choice([0.0, 0.01, 0.03, 0.2])):
                document[place] = word(numbers.integers(5000, 6000))
        else:
            document = [word(number) for number in numbers.integers(5000, size=words)]
        documents.append(document)
    return documents


def write_text(text: ExtractedText, documents: list[list[str]], files: int) -> None:
    """Write documents to several files of both splits."""
    for number in range(files):
        report = ExtractionReport()
        report.counts["dropped: redirect"] = 7
        with text.path("train", number).open("w") as train, text.path("validation", number).open("w") as validation:
            for index in range(number, len(documents), files):
                sentences = [" ".join(documents[index][i : i + 10]) + "." for i in range(0, 120, 10)]
                held_out = index % 5 == 0
                record = {"identifier": str(index), "title": f"T{index}", "copies": 1, "sentences": sentences}
                (validation if held_out else train).write(record_line(record))
                report.add(f"T{index}", len(sentences), 0 if held_out else 1)
        text.save_report(number, report)


def records(text: ExtractedText, files: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for number in range(files):
        for split in ("train", "validation"):
            yield from ((split, number, record) for record in text.records(split, number))


def similarity(first: list[str], second: list[str]) -> float:
    grams = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (first, second)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_pairs_are_those_that_a_full_comparison_finds(tmp_path: Path, workers: int) -> None:
    documents = varied(60)
    work = WorkFolder(tmp_path / "work")
    text = work.text("text")
    write_text(text, documents, files=4)
    unique = MinHashDeduplication().run(work, text, 4, LocalExecutor(workers))
    kept = {int(record["identifier"]) for _, _, record in records(unique, 4)}
    pairs = {(a, b): similarity(documents[a], documents[b]) for a, b in combinations(range(60), 2)}
    assert sum(share > 0.9 for share in pairs.values()) >= 5
    for (a, b), share in pairs.items():
        assert share < 0.9 or len({a, b} & kept) == 1
    alone = {i for i in range(60) if max(share for pair, share in pairs.items() if i in pair) < 0.3}
    assert len(alone) > 20
    assert alone <= kept
    whole = {record["identifier"]: (split, number, record) for split, number, record in records(text, 4)}
    for split, number, record in records(unique, 4):
        assert whole[record["identifier"]] == (split, number, record)
    reports = [unique.report(number) for number in range(4)]
    assert sum(report.counts["documents"] for report in reports) == len(kept)
    assert sum(report.counts["dropped: near duplicate"] for report in reports) == 60 - len(kept)
    assert sum(report.held_out for report in reports) + sum(sum(report.passes) for report in reports) == len(kept)
    assert [report.counts["dropped: redirect"] for report in reports] == [7] * 4


def test_signatures_taken_in_blocks_are_those_of_the_whole(tmp_path: Path) -> None:
    config = MinHashDeduplication().config
    signatures = _Signatures(str(tmp_path), config)
    shingles = signatures.get_shingles(" ".join(word(i % 7000) for i in range(9000)))
    assert len(shingles) > 2 * 4096
    assert signatures.get_signature(shingles) == super(_Signatures, signatures).get_signature(shingles)


def test_words_of_any_script() -> None:
    assert _Words().word_tokenize("Grüße, Welt 東京です") == ["Grüße", ",", "Welt", "東", "京", "です"]


@pytest.mark.parametrize("name", ["n_grams", "num_buckets", "hashes_per_bucket"])
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"deduplication\.{name} must be a whole number, at least 1; got 0"):
        MinHashDeduplication(**{name: 0})


@pytest.mark.slow
def test_no_copy_crosses_splits_and_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.mkdir()
    documents = varied(180, seed=1)
    for file in range(6):
        lines = (json.dumps({"text": " ".join(words)}) for words in documents[file::6])
        (source / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    arguments = [
        *("corpus=jsonl", f"corpus.path={source}", "tokenizer.vocab_size=300", "validation_fraction=0.3"),
        *("group_bytes=4000", "shard_tokens=3000", "executor.workers=2", "deduplication=minhash"),
    ]
    done = run_command("prepare", *arguments, f"output_dir={tmp_path / 'whole'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (about,) = Manifest.load(tmp_path / "whole").sources
    assert about.documents + about.dropped["near duplicate"] == 180
    assert 30 < about.dropped["near duplicate"] <= 60
    assert f"dropped: {about.dropped['near duplicate']} (near duplicate)" in done.stdout
    work = tmp_path / ".killed.preparing"
    command = [sys.executable, "-m", "bert_lightning.prepare", *arguments, f"output_dir={tmp_path / 'killed'}"]
    process = subprocess.Popen(command, cwd=tmp_path, env=checkout_environment(), start_new_session=True)
    while process.poll() is None and len(list(work.glob("*/tasks/matching/completions/*"))) < 3:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    assert run_command("prepare", *arguments, f"output_dir={tmp_path / 'killed'}", cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert any(is_held_out(f"jsonl/{file}.jsonl/0", 0.3) for file in range(6))
