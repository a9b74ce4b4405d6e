"""bert-fill-mask against transformers' pipeline, and what it says when it cannot."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.fill_mask import MaskFiller, fill_mask
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from data_pipeline.untrusted.escaping import printable
from tests.support.checkout import run_command
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.parity import CONFIG, our_model, reference_model

TEXT = "the king [MASK] slowly to the old [MASK] ."


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """The folder of a run with one checkpoint."""
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    return tmp_path / "run"


@pytest.fixture
def folder(run: Path, tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A Hugging Face folder of the same model."""
    folder = tmp_path / "hf"
    folder.mkdir()
    write_folder(folder, config_for(tokenizer), load_pretrained(run).state, tokenizer_files(tokenizer))
    return folder


def test_guesses_are_those_of_the_fill_mask_pipeline(run: Path, folder: Path) -> None:
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = pipeline("fill-mask", model, tokenizer=tokenizer)(TEXT, top_k=4)
    for place in (run, folder):
        guesses = MaskFiller(place)(TEXT, 4)
        assert len(guesses) == len(expected) == 2
        for own, theirs in zip(guesses, expected, strict=True):
            assert [guess.token for guess in own] == [entry["token_str"] for entry in theirs]
            assert [guess.probability for guess in own] == pytest.approx([entry["score"] for entry in theirs], abs=1e-6)


def test_guesses_are_a_distribution_over_the_vocabulary(run: Path, tokenizer: Tokenizer) -> None:
    """Asked for more than there is, it gives every token of the vocabulary once and none of its padding."""
    (guesses,) = MaskFiller(run)("the [MASK] .", top_k=1000)
    assert sorted(guess.token for guess in guesses) == sorted(tokenizer.get_vocab())
    assert sum(guess.probability for guess in guesses) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_filled_is_refused(run: Path) -> None:
    fill = MaskFiller(run)
    with pytest.raises(ValueError, match=r"text='the king \.' has no \[MASK\]"):
        fill("the king .")
    assert len(fill(". " * 37 + "[MASK]")) == 1
    with pytest.raises(ValueError, match=r"text has 41 tokens, more than max_position_embeddings=40"):
        fill(". " * 38 + "[MASK]")


def test_a_mask_may_have_the_name_of_bert_or_that_of_the_vocabulary(tmp_path: Path) -> None:
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    (tmp_path / "vocab.txt").write_text("\n".join([*names, "the", "king", "old", "walks"]) + "\n")
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", load_tokenizer(tmp_path), tmp_path / "t")
    fill = MaskFiller(tmp_path / "run")
    guesses = fill("the [MASK] walks", 20)
    assert guesses == fill("the <mask> walks", 20)
    assert sorted(guess.token for guess in guesses[0]) == sorted([*names, "the", "king", "old", "walks"])
    with pytest.raises(ValueError, match=r"text='the king' has no <mask>"):
        fill("the king")


def test_a_model_without_the_head_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "predictions" not in k}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="has no MLM head"):
        MaskFiller(folder)


def test_the_command_works_and_says_what_is_wrong_in_a_line(folder: Path, tmp_path: Path) -> None:
    done = run_command("fill_mask", "checkpoint=hf", f"text={TEXT}", "top_k=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("probability") == 2
    assert "[MASK] 2" in done.stdout
    for arguments, said in [
        (["text=no mask, here"], "text='no mask, here' has no [MASK]"),
        ([f"text={TEXT}", "top_k=0"], "top_k must be a whole number, at least 1; got 0"),
    ]:
        done = run_command("fill_mask", "checkpoint=hf", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_tokens_that_would_act_on_the_terminal_are_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    acting = ["\x1b]0;owned\x07", "\x1b[2J", "[/bold]", "[red]", ":skull:", "\u202eevil"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", *acting]
    config = replace(CONFIG, vocab_size=len(vocabulary))
    files = {"vocab.txt": "".join(f"{token}\n" for token in vocabulary)}
    write_folder(tmp_path, config, our_model(reference_model(config), config).state_dict(), files)
    fill_mask(OmegaConf.create({"checkpoint": str(tmp_path), "text": "the [MASK]", "top_k": 20}))
    shown = capsys.readouterr().out
    assert "[MASK] 1" in shown
    assert all(printable(token) in shown for token in vocabulary)
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
