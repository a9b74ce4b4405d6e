"""bert-export and bert-fill-mask against transformers on the exported folder."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer, pipeline

from bert_lightning.checkpoint import load_pretrained
from bert_lightning.export import export
from bert_lightning.fill_mask import MaskFiller
from bert_lightning.huggingface import write_folder
from data_pipeline.tokenizer import tokenizer_files
from tests.parity import CONFIG, our_model, reference_model
from tests.test_checkpoint import write_checkpoint
from tests.test_inspect import run_command

TEXT = "the king [MASK] slowly to the old [MASK] ."


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """The folder of a run with one checkpoint."""
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    return tmp_path / "run"


def test_an_export_loads_in_transformers_and_reads_back(run: Path, tmp_path: Path) -> None:
    output = export(OmegaConf.create({"checkpoint": str(run), "output_dir": str(tmp_path / "hf")}))
    assert AutoModelForPreTraining.from_pretrained(output).config.vocab_size == CONFIG.vocab_size
    assert AutoTokenizer.from_pretrained(output).mask_token == "[MASK]"
    before, after = load_pretrained(run), load_pretrained(output)
    assert before.config == after.config
    assert all(torch.equal(before.state[name], after.state[name]) for name in before.state)
    assert not list(tmp_path.glob(".*"))


def test_an_export_never_overwrites_and_leaves_nothing_when_it_fails(run: Path, tmp_path: Path) -> None:
    cfg = OmegaConf.create({"checkpoint": str(run), "output_dir": str(tmp_path / "hf")})
    export(cfg)
    with pytest.raises(ValueError, match="hf exists and is not empty"):
        export(cfg)
    other = OmegaConf.create({"checkpoint": str(tmp_path / "tokenizer"), "output_dir": str(tmp_path / "other")})
    with pytest.raises(ValueError, match="neither a run"):
        export(other)
    assert not (tmp_path / "other").exists()


def test_guesses_are_those_of_the_fill_mask_pipeline(run: Path, tmp_path: Path) -> None:
    output = export(OmegaConf.create({"checkpoint": str(run), "output_dir": str(tmp_path / "hf")}))
    fill = pipeline("fill-mask", AutoModelForMaskedLM.from_pretrained(output), tokenizer=AutoTokenizer.from_pretrained(output))
    expected = fill(TEXT, top_k=4)
    for place in (run, output):
        guesses = MaskFiller(place)(TEXT, 4)
        assert len(guesses) == len(expected) == 2
        for own, theirs in zip(guesses, expected, strict=True):
            assert [guess.token for guess in own] == [entry["token_str"] for entry in theirs]
            assert [guess.probability for guess in own] == pytest.approx([entry["score"] for entry in theirs], abs=1e-6)


def test_what_cannot_be_filled_is_refused(run: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    fill = MaskFiller(run)
    with pytest.raises(ValueError, match=r"has no \[MASK\]"):
        fill("the king .")
    with pytest.raises(ValueError, match=r"text has \d+ tokens, more than max_position_embeddings=40"):
        fill("the " * 60 + "[MASK]")
    headless = {k: v for k, v in our_model(reference_model()).state_dict().items() if not k.startswith("mlm")}
    folder = tmp_path / "headless"
    folder.mkdir()
    whole = our_model(reference_model()).state_dict()
    write_folder(folder, CONFIG, whole, tokenizer_files(tokenizer))
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "predictions" not in k}, folder / "model.safetensors")
    assert set(load_pretrained(folder).state) == set(headless)
    with pytest.raises(ValueError, match="has no MLM head"):
        MaskFiller(folder)


def test_the_commands_work_and_say_what_is_wrong_in_a_line(run: Path, tmp_path: Path) -> None:
    done = run_command("export", f"checkpoint={run}", "output_dir=hf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_command("fill_mask", "checkpoint=hf", f"text='{TEXT}'", "top_k=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("probability") == 2
    for module, arguments, said in [
        ("export", ["checkpoint=nowhere", "output_dir=x"], "checkpoint=nowhere does not exist"),
        ("fill_mask", ["checkpoint=hf", "text='no mask'"], "has no [MASK]"),
        ("fill_mask", ["checkpoint=hf", f"text='{TEXT}'", "top_k=0"], "top_k must be at least 1, not 0"),
    ]:
        done = run_command(module, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
