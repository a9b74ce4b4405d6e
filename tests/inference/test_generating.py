"""bert-generate against transformers' generate and warpers, and what it says when it cannot."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from bert_lightning.export import export
from bert_lightning.generate import generate
from bert_lightning.inference.continuing import Continuer
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.sampling import Sampling
from bert_lightning.models.cached_attention import CachedAttention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_texts import pack_sequences
from data_pipeline.tokenizers.special_tokens import special_tokens
from tests.support.causal_models import CAUSAL, write_causal
from tests.support.checkpoints import write_checkpoint
from tests.support.models import tiny_encoder
from tests.support.parity import random_weights
from tests.support.runs import compose_here

TEXTS = ["the king", "the old queen walks to the", "."]
GREEDY = Sampling()


@pytest.mark.parametrize("kind", CAUSAL)
def test_greedy_tokens_are_those_of_transformers(kind: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_causal(tmp_path / "gpt", tokenizer, kind)
    export(compose_here("export", {"checkpoint": tmp_path / "gpt", "output_dir": tmp_path / "hf"}))
    theirs = CAUSAL[kind][1].from_pretrained(tmp_path / "hf").eval()
    go_on = Continuer(load_model(tmp_path / "gpt", "cpu"))
    cls, sep = special_tokens(tokenizer).cls, special_tokens(tokenizer).sep
    assert (theirs.config.bos_token_id, theirs.generation_config.eos_token_id) == (cls, sep)
    for text in TEXTS:
        prompt = go_on.prompt(text)
        found = go_on(text, 30, GREEDY, 0, "text")
        settings = {"max_new_tokens": 30, "do_sample": False}
        whole = theirs.generate(torch.tensor([prompt]), **settings)  # type: ignore[operator]
        expected = whole[0, len(prompt) :].tolist()
        assert [*found.tokens, *([sep] if found.is_ended else [])] == expected
        start, end = (go_on._tokenizer.decode(ids) for ids in (prompt, [*prompt, *found.tokens]))
        assert start + found.text == end


def test_every_token_of_the_vocabulary_and_no_padding_may_follow_up_to_the_last_position(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_causal(tmp_path, tokenizer)
    go_on = Continuer(load_model(tmp_path, "cpu"))
    offered = []
    monkeypatch.setattr(Sampling, "choose", lambda _, scores, generator: offered.append(len(scores)) or 7)
    room = 64 - len(go_on.prompt("the king"))
    assert go_on("the king", room, GREEDY, 0, "text").tokens == [7] * room
    assert set(offered) == {tokenizer.get_vocab_size()}
    with pytest.raises(ValueError, match=f"leaves no room for max_new_tokens={room + 1}:"):
        go_on.check("the king", room + 1, "text")


def test_a_text_ends_at_the_end_of_text_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_causal(tmp_path, tokenizer)
    model = load_model(tmp_path, "cpu")
    go_on = Continuer(model)
    free = go_on("the king", 20, GREEDY, 0, "text")
    assert not free.is_ended
    ending = free.tokens[7]
    go_on._special = replace(go_on._special, sep=ending)  # as if the eighth token were [SEP]
    ended = go_on("the king", 20, GREEDY, 0, "text")
    assert ended.is_ended
    assert ended.tokens == free.tokens[: free.tokens.index(ending)]


@pytest.mark.parametrize("top_k", [None, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.7, 1.0])
@pytest.mark.parametrize("temperature", [None, 0.5, 2.0])
def test_kept_tokens_are_those_of_the_warpers(
    temperature: float | None, top_k: int | None, top_p: float | None
) -> None:
    scores = 3 * torch.randn(1, 101, generator=torch.Generator().manual_seed(1))
    expected = scores
    for warper, value in ((TemperatureLogitsWarper, temperature), (TopKLogitsWarper, top_k), (TopPLogitsWarper, top_p)):
        if value is not None:
            expected = warper(value)(torch.zeros(1, 1, dtype=torch.long), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(Sampling(temperature, top_k, top_p).kept(scores[0]), expected[0], rtol=0, atol=0)


def test_the_likeliest_token_stays_in_the_smallest_nucleus() -> None:
    """Probabilities add up to a little less than 1 in fp32."""
    scores = 3 * torch.randn(500, generator=torch.Generator().manual_seed(1))
    assert scores.sort().values.softmax(-1).cumsum(-1)[-1] < 1
    assert Sampling(top_p=1e-9).kept(scores).isfinite().nonzero().flatten().tolist() == [int(scores.argmax())]


def test_tokens_are_drawn_by_their_probabilities_among_those_kept() -> None:
    scores, generator = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=0.8, top_k=3)
    drawn = torch.tensor([sampling.choose(scores, generator) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, sampling.kept(scores).softmax(-1), atol=0.03, rtol=0)
    assert shares[0] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "pre", "embedding_norm": False, "type_vocab_size": 0},
        {"positions": "rotary", "shared_parameters": "all", "num_hidden_groups": 2, "type_vocab_size": 2},
        {"positions": "rotary", "local_attention": 6, "global_attn_every_n_layers": 2, "use_bias": False},
    ],
    ids=["gpt2", "shared and rotary", "local"],
)
def test_pieces_give_the_hidden_states_of_the_whole(changes: dict[str, object]) -> None:
    config: EncoderConfig = replace(
        tiny_encoder(101, num_hidden_layers=4, max_position_embeddings=40), is_causal=True, **changes
    )
    whole = random_weights(Encoder(config)).eval()
    cache = CachedAttention(config)
    by_pieces = Encoder(config, cache).eval()
    by_pieces.load_state_dict(whole.state_dict())
    tokens = pack_sequences([list(range(5, 35))], [[0] * 30])
    for _ in range(2):
        cache.clear()
        found = []
        for begin, end in ((0, 7), (7, 8), (8, 20), (20, 30)):
            piece = pack_sequences([list(range(5 + begin, 5 + end))], [[0] * (end - begin)])
            found.append(by_pieces(replace(piece, position_ids=torch.arange(begin, end, dtype=torch.int32))))
        torch.testing.assert_close(torch.cat(found), whole(tokens), atol=1e-5, rtol=1e-5)


def test_a_file_of_texts_becomes_lines_that_do_not_depend_on_each_other(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_causal(tmp_path / "gpt", tokenizer)
    (tmp_path / "texts.txt").write_text("\n".join(["the king", "the old queen", "the king"]) + "\n")
    given = {"checkpoint": tmp_path / "gpt", "max_new_tokens": 12, "top_k": 50, "accelerator": "cpu"}
    file = given | {"input": tmp_path / "texts.txt", "output": tmp_path / "out.jsonl", "template": r"'{text}\nTL;DR:'"}
    generate(compose_here("generate", file))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [f"{t}\nTL;DR:" for t in ("the king", "the old queen", "the king")]
    assert rows[0]["continuation"] != rows[2]["continuation"]  # each text has its own random numbers
    assert "3 continuations" in capsys.readouterr().out
    (tmp_path / "texts.txt").write_text("the king\nthe old king walks\n")
    generate(compose_here("generate", file))
    again = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert again[0] == rows[0]
    capsys.readouterr()
    generate(compose_here("generate", given | {"text": "the king"}))
    one = capsys.readouterr().out
    assert one.startswith("the king")
    generate(compose_here("generate", given | {"text": "the king", "seed": 1}))
    assert capsys.readouterr().out != one


def test_a_text_that_is_too_long_says_so_before_the_first_is_continued(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_causal(tmp_path / "gpt", tokenizer)
    (tmp_path / "texts.txt").write_text("the king\n" + "the old king walks " * 20 + "\n")
    monkeypatch.setattr(Continuer, "_continue", lambda *given: pytest.fail("a text was continued"))
    file = {"input": tmp_path / "texts.txt", "output": tmp_path / "out.jsonl", "accelerator": "cpu"}
    with pytest.raises(ValueError, match=r"line 2 has .* leaves no room"):
        generate(compose_here("generate", file | {"checkpoint": tmp_path / "gpt"}))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_new_tokens": 62}, "text has 6 tokens, which leaves no room for max_new_tokens=62: .*embeddings=64"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"top_p": 1.5}, "top_p must be null or a number above 0 and at most 1; got 1.5"),
        ({"template": "'TL;DR:'"}, r"template must have one or more of \{text\}, and no other .*; got TL;DR:"),
        ({"input": "texts.txt"}, "give either text"),
        ({"output": "out.jsonl"}, "output is for input"),
    ],
)
def test_what_cannot_work_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_causal(tmp_path, tokenizer)
    with pytest.raises(ValueError, match=said):
        generate(compose_here("generate", {"checkpoint": tmp_path, "text": "the king", "accelerator": "cpu"} | changes))


@pytest.mark.parametrize(
    "value", [{"temperature": 0}, {"temperature": -1.0}, {"top_k": 0}, {"top_p": 0}, {"top_p": 2.0}]
)
def test_sampling_that_keeps_nothing_is_refused(value: dict[str, float]) -> None:
    (name,) = value
    with pytest.raises(ValueError, match=f"{name} must be .*; got {value[name]}"):
        Sampling(**value)  # type: ignore[arg-type]


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    run = tmp_path / "run"
    write_checkpoint(run / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="predicts no next token, which writing on needs: it is not causal"):
        generate(compose_here("generate", {"checkpoint": run, "text": "the king", "accelerator": "cpu"}))
