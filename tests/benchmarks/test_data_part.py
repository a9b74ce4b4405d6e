"""The data part of bert-benchmark: it runs as a user runs it, and what it counts is what there is to count."""

import io
import json
import re
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console
from tokenizers import Tokenizer

from bert_lightning.benchmarks.collator_baselines import collator_speed, tar_speed
from bert_lightning.benchmarks.data_part import LAYOUTS, mask_kinds
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.model_batches import pad_rows
from bert_lightning.benchmarks.padded_rows import padded_batches, padded_speed
from bert_lightning.benchmarks.prepare_speed import prepare_speed
from bert_lightning.benchmarks.stream_speed import SampleSource, Share, first_batch_seconds, stream_speed
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.masking.word_masking import SpanMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.samples import PretrainingSamples
from tests.support.checkout import run_command, run_python
from tests.support.faulty_server import serve
from tests.support.streams import make_samples
from tests.support.texts import tiny_texts

SHARE = Share(48, 8)
KINDS = list(mask_kinds(TokenMasking()))

WITHOUT_TRANSFORMERS = """
import sys
sys.modules["transformers"] = None
from bert_lightning.benchmark import main
for words in (
    ["part=data", "data.path=/x", "model.vocab_size=9"],
    ["part=model", "baseline=none"],
    ["part=finetune", "task=sst2", "task.path=/x", "checkpoint=/x"],
):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2, words
    else:
        raise AssertionError(words)
"""
"""Three parts of bert-benchmark where transformers is not installed."""


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
    ours = {(f"{layout}, {kind}", workers) for layout in LAYOUTS for kind in KINDS for workers in (0, 1)}
    others = {("HF collator, padded", 0), ("HF collator, padded", 1), ("webdataset, padded", 0)}
    assert {(row["what"], row["loader processes"]) for row in stream} == ours | others
    assert all(row["million real tokens/s"] > 0 for row in stream)
    filler = {row["what"]: row["filler %"] for row in stream}
    assert all(filler[f"packed, {kind}"] < filler[f"padded, {kind}"] for kind in KINDS), filler
    assert first[0]["seq_len"] == 64
    assert [row["examples read"] for row in memory] == sorted(row["examples read"] for row in memory)
    shown = io.StringIO()
    FigureTable("stream", tuple(stream[0]), [list(row.values()) for row in stream]).show(Console(width=80, file=shown))
    for name, _ in ours | others:
        assert name in shown.getvalue(), "a name is cut in a terminal of 80 columns"


def test_the_stream_and_the_collator_are_measured_on_the_same_examples(prepared: Path) -> None:
    samples = make_samples(prepared)
    _, filler = stream_speed(samples, SHARE, 0, 0.2)()
    assert 0 <= filler < 0.1
    _, of_rows = padded_speed(samples, SHARE, 0, 0.2)()
    for num_workers in (0, 1):
        _, padding = collator_speed(samples, SHARE, num_workers, 0.2, 0.15)()
        assert filler < padding <= of_rows + 0.05, "the collator pads to the longest row of a batch"
    assert tar_speed(samples, SHARE, 0.2, 0.15)()[0] > 0


def test_padded_rows_are_the_examples_of_the_stream(prepared: Path) -> None:
    samples = make_samples(prepared)
    rows = padded_batches(samples, SHARE)
    for step in islice(SHARE.stream(samples), 3):
        padded = next(rows)
        for batch in step:
            expected = pad_rows(batch, samples.seq_len)
            own = padded[:, batch.sample_ids.long()]
            for number, name in enumerate(["input_ids", "token_type_ids", "attention_mask", "labels"]):
                given = expected[name]
                assert own[number].tolist() == given.masked_fill(given == -100, NO_LABEL).tolist(), name


def test_every_setting_of_the_stream_is_kept(prepared: Path) -> None:
    folder = partial(PreparedFolder, prepared)
    excluded = [folder().manifest.splits["train"][0].name]
    pairs, chosen = SegmentPairs(short_seq_prob=0.3), SpanMasking((1, 1), mask_prob=0.2, max_predictions=5)
    samples = SampleSource(folder, pairs, 7, 3, 2, excluded).samples(48, chosen)
    expected = PretrainingSamples(prepared, "train", pairs, chosen, 48, 7, 3, 2, exclude_shards=excluded)
    assert samples.fingerprint() == expected.fingerprint()
    kinds = mask_kinds(chosen)
    assert {masking.mask_prob for masking in kinds.values()} == {0.2}
    assert {masking.max_predictions for masking in kinds.values()} == {5}
    assert kinds["spans"].describe() == chosen.describe()


def test_it_measures_a_folder_elsewhere_and_refuses_what_is_not_there(prepared: Path, tmp_path: Path) -> None:
    settings = ["part=data", "part.seq_lens=[64]", "part.num_workers=[0]", "part.seconds=0.02", "part.repeats=1"]
    settings += ["data.global_batch_size=48", "data.micro_batch_size=8", f"data.cache_dir={tmp_path}/cache"]
    with serve(prepared) as server:
        done = run_command("benchmark", *settings, f"data.path={server.url}", "masking=span", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        wrong = ["data.exclude_shards=[none.tar]", f"data.path={server.url}"]
        done = run_command("benchmark", *settings, *wrong, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "data.exclude_shards names shards" in done.stderr


def test_a_missing_transformers_is_said_with_the_extra_that_brings_it() -> None:
    done = run_python(WITHOUT_TRANSFORMERS)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(error: bert-benchmark needs the extra `hf` .*transformers.*\n){3}", done.stderr)


def test_another_missing_module_is_not_taken_for_transformers(tmp_path: Path) -> None:
    done = run_command("benchmark", "masking._target_=nowhere.Masking", "baseline=none", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "extra `hf`" not in done.stderr


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
