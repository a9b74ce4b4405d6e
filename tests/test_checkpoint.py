"""Checkpoints: the newest whole one is found, what they carry is enough, and what is not one is refused."""

import io
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoint import checkpoint_payload, is_whole, latest_checkpoint, load_pretrained
from bert_lightning.huggingface import write_folder
from data_pipeline.tokenizer import save_tokenizer, tokenizer_files
from tests.parity import CONFIG, our_model, reference_model


def write_checkpoint(path: Path, tokenizer: Tokenizer, folder: Path) -> dict[str, torch.Tensor]:
    """Write what bert-pretrain writes, without an optimizer; return the objective's state."""
    save_tokenizer(tokenizer, folder)
    state = our_model(reference_model()).state_dict()
    content = {"state_dict": {f"objective.{name}": tensor for name, tensor in state.items()}, "global_step": 7}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**content, **checkpoint_payload(CONFIG, folder, {"seed": 1})}, path)
    return state


def test_a_file_holds_model_sizes_and_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "checkpoints" / "step-0000007.ckpt"
    state = write_checkpoint(path, tokenizer, tmp_path / "tokenizer")
    for place in (path, tmp_path):
        pretrained = load_pretrained(place)
        assert pretrained.config == CONFIG
        assert pretrained.tokenizer_files == tokenizer_files(tokenizer)
        assert set(pretrained.state) == set(state)
        assert all(torch.equal(pretrained.state[name], state[name]) for name in state)


def test_a_hugging_face_folder_is_read_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    state = our_model(reference_model()).state_dict()
    write_folder(tmp_path, CONFIG, state, tokenizer_files(tokenizer))
    pretrained = load_pretrained(tmp_path)
    assert all(torch.equal(pretrained.state[name], state[name]) for name in state)
    assert pretrained.tokenizer_files == tokenizer_files(tokenizer)


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (5, 20, 100):
        torch.save({"step": torch.arange(1000)}, folder / f"step-{step:07d}.ckpt")
    assert latest_checkpoint(tmp_path) == folder / "step-0000100.ckpt"
    newest = folder / "step-0000100.ckpt"
    content = newest.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        newest.write_bytes(content[:cut])
        assert not is_whole(newest)
        assert latest_checkpoint(tmp_path) == folder / "step-0000020.ckpt"
    sharded = folder / "step-0000200.ckpt"
    sharded.mkdir()
    assert latest_checkpoint(tmp_path) == folder / "step-0000020.ckpt"
    for name in (".metadata", "meta.pt"):
        (sharded / name).touch()
    assert latest_checkpoint(tmp_path) == sharded


class Code:
    """An object whose unpickling would run something."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"checkpoint=.*nowhere does not exist"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither a run with a whole checkpoint nor a Hugging Face folder"):
        load_pretrained(tmp_path)
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="was not written by bert-pretrain"):
        load_pretrained(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="cannot be read"):
        load_pretrained(path)
    buffer = io.BytesIO()
    torch.save({"state_dict": Code()}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="cannot be read"):
        load_pretrained(path)
    assert "ran" not in capsys.readouterr().out
