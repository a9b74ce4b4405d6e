"""bert-inspect: examples in words, the table, JSON and digests, through the command."""

import json
from itertools import islice
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.text import Text
from tokenizers import Tokenizer

from bert_lightning.inspect_stream import example_in_words, inspect, legend
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.streams.packed_batch import batch_digest
from data_pipeline.tokenizers.special_tokens import special_tokens
from tests.support.checkout import run_command
from tests.support.runs import compose_here
from tests.support.streams import make_samples, make_stream


def test_an_example_shows_what_is_asked_for_and_reads_back(prepared: Path, tokenizer: Tokenizer) -> None:
    (batch, *_) = next(iter(make_stream(make_samples(prepared))))
    words = example_in_words(batch, 0, tokenizer).plain.split()
    asked = [word for word in words if "->" in word]
    begin, end = batch.tokens.cu_seqlens[:2].tolist()
    expected = [
        (tokenizer.id_to_token(int(batch.tokens.input_ids[p])), tokenizer.id_to_token(int(label)))
        for p, label in zip(batch.targets["mlm"].positions, batch.targets["mlm"].labels, strict=True)
        if begin <= p < end and label != -100
    ]
    assert [tuple(word.split("->")) for word in asked] == expected
    assert len(words) == end - begin
    assert words[0] == "[CLS]"
    assert words.count("[SEP]") == 2


def test_the_legend_explains_the_marks_that_are_used(prepared: Path, tokenizer: Tokenizer) -> None:
    (batch, *_) = next(iter(make_stream(make_samples(prepared))))
    example = example_in_words(batch, 0, tokenizer)
    asked, pieces = "shown->asked: the model sees the first and is asked for the second", "##: the piece goes on a word"
    assert legend([example], has_styles=False) == f"{asked}; {pieces}"
    assert legend([example], has_styles=True) == f"{asked}; underlined: the second segment; {pieces}"
    assert legend([Text("\u0120king s")], has_styles=True) == "\u0120: the piece begins a word"
    assert legend([], has_styles=True) == ""


def test_the_command_writes_statistics_and_the_digests_of_the_stream(prepared: Path, tmp_path: Path) -> None:
    keys = ["data.seq_len=48", "seed=3", "data.num_lanes=4", "data.window_shards=2", "data.global_batch_size=48"]
    done = run_command(
        "inspect_stream",
        f"data.path={prepared}",
        "num_batches=4",
        "data.micro_batch_size=8",
        "data.num_workers=0",
        "output=stats.json",
        "digests=digests.txt",
        *keys,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "example 0" in done.stdout.partition("shown->asked: ")[2]
    assert "is next" in done.stdout or "random next" in done.stdout
    statistics = json.loads((tmp_path / "stats.json").read_text())
    assert statistics["examples"] == 192
    assert 0.13 < statistics["predicted_share"] < 0.17
    stream = make_stream(make_samples(prepared, pairs=SegmentPairs()))
    expected = [batch_digest(batches) for batches in islice(stream, 4)]
    assert (tmp_path / "digests.txt").read_text().split() == expected


def test_wrong_input_is_one_line_and_a_status(prepared: Path, tmp_path: Path) -> None:
    for arguments, said in [
        (["data.path=nowhere"], "nowhere is not a folder prepared by bert-prepare"),
        ([f"data.path={prepared}", "data.sequence_length=64"], "sequence_length"),
        ([f"data.path={prepared}", "masking.mask_prob=3"], "masking.mask_prob must be in (0, 1]; got 3"),
        ([f"data.path={prepared}", "data.micro_batch_size=33"], "global_batch_size=256"),
        ([], "data.path"),
    ]:
        done = run_command("inspect_stream", *arguments, cwd=tmp_path)
        assert done.returncode != 0
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_is_shown_at_work(prepared: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    text, pair = "the king's [MASK], it's", "unhappily"
    settings = {"tokenizer.path": prepared, "output": tmp_path / "facts.json"}
    cfg = compose_here("inspect", settings)
    OmegaConf.update(cfg, "text", text)
    OmegaConf.update(cfg, "text_pair", pair)
    shown = inspect(cfg)
    assert shown == json.loads((tmp_path / "facts.json").read_text())
    expected = tokenizer.encode(text, pair)
    assert shown["text"]["tokens"] == expected.tokens
    assert shown["text"]["input_ids"] == expected.ids
    assert shown["text"]["token_type_ids"] == expected.type_ids
    assert shown["text"]["attention_mask"] == [1] * len(expected)
    assert "[MASK]" in shown["text"]["decoded"]
    assert special_tokens(tokenizer).mask not in shown["text"]["in_shards"][0]
    facts = {"model": "WordPiece", "tokens": tokenizer.get_vocab_size(), "folds_case": True, "strips_accents": True}
    assert facts.items() <= shown.items()
    assert shown["class_in_transformers"] == "BertTokenizer"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text": "a"}, r"give tokenizer=<folder or file>"),
        ({"tokenizer.path": "nowhere"}, r"tokenizer\.path=nowhere does not exist"),
        (
            {"tokenizer.path": "nowhere", "text_pair": "a"},
            "text_pair is the second text of text=",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be_shown_is_said(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        inspect(compose_here("inspect", settings))
