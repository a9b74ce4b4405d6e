"""The data part of bert-benchmark: it runs as a user runs it, and what it counts is what there is to count."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bert_lightning.benchmarks.collator_baselines import collator_speed, tar_speed
from bert_lightning.benchmarks.prepare_speed import prepare_speed
from bert_lightning.benchmarks.stream_speed import Share, first_batch_seconds, stream_speed
from data_pipeline.corpora.text_lines import TextLines
from tests.conftest import tiny_texts
from tests.test_inspect import run_command
from tests.test_stream import make_samples

SHARE = Share(48, 8)


def test_the_command_prints_and_writes_every_table(prepared: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("\n".join(document) for document in tiny_texts(30)))
    small = ["part.seq_lens=[64]", "part.num_workers=[0,1]", "part.seconds=0.05", "part.repeats=1"]
    done = run_command(
        "benchmark",
        "part=data",
        f"data.path={prepared}",
        "data.global_batch_size=48",
        "data.micro_batch_size=8",
        "corpus=text",
        f"corpus.path={text}",
        "output=figures.json",
        *small,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["machine"]["versions"]["torch"]
    preparation, stream, first, memory = found["tables"].values()
    assert [row["stage"] for row in preparation][-1] == "all"
    assert sum(row["share of the time %"] for row in preparation[:-1]) == pytest.approx(100)
    assert len(stream) == 4 + 1 + 2
    assert all(row["million real tokens/s"] > 0 for row in stream)
    assert all(row["million real tokens/s"] < row["the same as padded rows"] for row in stream)
    assert first[0]["seq_len"] == 64
    assert [row["examples read"] for row in memory] == sorted(row["examples read"] for row in memory)
    assert "DataCollatorForLanguageModeling" in done.stdout


def test_the_stream_and_the_collator_are_measured_on_the_same_examples(prepared: Path) -> None:
    samples = make_samples(prepared)
    _, _, filler = stream_speed(samples, SHARE, 0, 0.2)()
    assert 0 <= filler < 0.1
    tokens, rows, padding = collator_speed(samples, SHARE, 0.2)()
    assert filler < padding < 0.6
    assert tokens / rows == pytest.approx(stream_mean_length(prepared) / 48, abs=0.05)
    assert tar_speed(samples, SHARE, 0.2)()[0] > 0


def stream_mean_length(prepared: Path) -> float:
    stream = iter(SHARE.stream(make_samples(prepared)))
    batches = [batch for _ in range(8) for batch in next(stream)]
    return sum(batch.num_tokens for batch in batches) / sum(batch.num_pairs for batch in batches)


def test_a_first_batch_anywhere_is_found(prepared: Path) -> None:
    for position in (0.0, 0.99):
        assert first_batch_seconds(lambda: make_samples(prepared), SHARE, position) > 0


def test_preparation_counts_what_the_tokenizer_makes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = tiny_texts(20)
    (tmp_path / "a.txt").write_text("\n\n".join("\n".join(document) for document in documents))
    corpus = TextLines(name="tiny", path=tmp_path / "a.txt", licence="", origin="")
    table = prepare_speed(corpus, tokenizer, 10**9)
    tokens = sum(len(tokenizer.encode(line, add_special_tokens=False)) for text in documents for line in text)
    assert f"{tokens / 1e6:.2f} million tokens" in table.title
    *_, (_, seconds, share, speed, _) = table.rows
    assert share == 100
    assert speed * seconds == pytest.approx((tmp_path / "a.txt").stat().st_size / 1e6)
