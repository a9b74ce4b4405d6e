"""Checkpoints: the newest whole one is found, what they carry is enough, and what is not one is refused."""

import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch.distributed import checkpoint as sharded_checkpoint

from bert_lightning.checkpoints.checkpoint import is_whole, latest_checkpoint, load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkpoints import (
    assert_same,
    checkpoint_content,
    config_for,
    write_checkpoint,
    write_sharded_checkpoint,
)
from tests.support.parity import CONFIG, our_model, reference_model


def test_a_file_holds_model_sizes_and_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "checkpoints" / "step-0000007.ckpt"
    state = write_checkpoint(path, tokenizer, tmp_path / "tokenizer")
    for place in (path, tmp_path):
        pretrained = load_pretrained(place)
        assert pretrained.config == config_for(tokenizer)
        assert pretrained.tokenizer_files == tokenizer_files(tokenizer)
        assert pretrained.tokenizer().to_str() == tokenizer.to_str()
        assert pretrained.absent_heads == []
        assert_same(pretrained.state, state)


def test_a_sharded_checkpoint_is_read_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "checkpoints" / "step-0000007.ckpt"
    state = write_sharded_checkpoint(path, tokenizer, tmp_path / "tokenizer")
    for place in (path, tmp_path):
        pretrained = load_pretrained(place)
        assert pretrained.config == config_for(tokenizer)
        assert pretrained.tokenizer_files == tokenizer_files(tokenizer)
        assert_same(pretrained.state, state)


def test_a_hugging_face_folder_is_read_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = config_for(tokenizer)
    state = our_model(reference_model(config), config).state_dict()
    write_folder(tmp_path, config, state, tokenizer_files(tokenizer))
    pretrained = load_pretrained(tmp_path)
    assert_same(pretrained.state, state)
    assert pretrained.tokenizer().to_str() == tokenizer.to_str()
    assert pretrained.absent_heads == []


def test_a_part_of_the_state_loads_strictly(tmp_path: Path, tokenizer: Tokenizer) -> None:
    state = write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer")
    head = load_pretrained(tmp_path / "x.ckpt").state_of("mlm_head")
    assert_same(head, {n.removeprefix("mlm_head."): t for n, t in state.items() if n.startswith("mlm_head.")})
    assert load_pretrained(tmp_path / "x.ckpt").state_of("mlm") == {}


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_alone_is_read_with_the_case_it_was_made_for(tmp_path: Path, lowercase: bool) -> None:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "king", "King"]
    config = replace(CONFIG, vocab_size=len(names))
    state = our_model(reference_model(config), config).state_dict()
    settings = f'{{"do_lower_case": {str(lowercase).lower()}}}'
    write_folder(tmp_path, config, state, {"vocab.txt": "\n".join(names) + "\n", "tokenizer_config.json": settings})
    ids = load_pretrained(tmp_path).tokenizer().encode("King", add_special_tokens=False).ids
    assert ids == [5 if lowercase else 6]


def test_a_tokenizer_that_is_absent_or_larger_than_the_model_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    state = our_model(reference_model()).state_dict()
    write_folder(tmp_path, CONFIG, state, {})
    with pytest.raises(ValueError, match="carries no tokenizer"):
        load_pretrained(tmp_path).tokenizer()
    write_folder(tmp_path, CONFIG, state, tokenizer_files(tokenizer))
    with pytest.raises(ValueError, match=r"tokenizer has 120 tokens, its model\.vocab_size=101"):
        load_pretrained(tmp_path).tokenizer()


def test_a_tokenizer_that_is_much_smaller_than_the_model_is_said(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    """A vocabulary may be padded, by a few hundred rows."""
    for rows, is_said in ((120 + 1024, False), (120 + 1025, True)):
        config = replace(CONFIG, vocab_size=rows)
        state = our_model(reference_model(config), config).state_dict()
        write_folder(tmp_path, config, state, tokenizer_files(tokenizer))
        load_pretrained(tmp_path).tokenizer()
        warning = f"tokenizer has 120 tokens, its model.vocab_size={rows}: is it the tokenizer of another model?"
        assert (warning in caplog.text) == is_said


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
    newest.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))  # as a lost page leaves it
    assert latest_checkpoint(tmp_path) == folder / "step-0000020.ckpt"
    before, beyond = folder / "step-9999999.ckpt", folder / "step-10000000.ckpt"  # names are padded to seven digits
    before.write_bytes(content)
    beyond.write_bytes(content)
    assert latest_checkpoint(tmp_path) == beyond


def test_a_sharded_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path, tokenizer: Tokenizer) -> None:
    older, newest = (tmp_path / "checkpoints" / f"step-{step:07d}.ckpt" for step in (5, 10))
    write_sharded_checkpoint(older, tokenizer, tmp_path / "tokenizer")
    write_sharded_checkpoint(newest, tokenizer, tmp_path / "tokenizer")
    assert latest_checkpoint(tmp_path) == newest
    files = sorted(path.name for path in newest.iterdir())
    assert {".metadata", "meta.pt"} < set(files)
    for name in files:
        for cut in (None, 0, -1):
            shutil.rmtree(newest)
            shutil.copytree(older, newest)
            content = (newest / name).read_bytes()
            (newest / name).unlink()
            if cut is not None:
                (newest / name).write_bytes(content[:cut])
            assert latest_checkpoint(tmp_path) == older, (name, cut)


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
    torch.save(torch.zeros(3), path)
    with pytest.raises(ValueError, match="was not written by bert-pretrain"):
        load_pretrained(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="cannot be read"):
        load_pretrained(path)
    buffer = io.BytesIO()
    torch.save({"state_dict": Code()}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="cannot be read: it holds more than tensors and plain containers"):
        load_pretrained(path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["metadata", "values"])
def test_a_sharded_checkpoint_that_would_run_something_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    path = tmp_path / "checkpoints" / "step-0000007.ckpt"
    write_sharded_checkpoint(path, tokenizer, tmp_path / "tokenizer")
    if place == "metadata":
        (path / ".metadata").write_bytes(pickle.dumps(Code()))
        assert latest_checkpoint(tmp_path) is None
    else:
        shutil.rmtree(path)
        content, extra, _ = checkpoint_content(tokenizer, tmp_path / "tokenizer")
        sharded_checkpoint.save({"state_dict": content["state_dict"] | {"x": Code()}}, checkpoint_id=path, no_dist=True)
        torch.save(extra, path / "meta.pt")
    capsys.readouterr()
    with pytest.raises(ValueError, match="it holds more than tensors and plain containers"):
        load_pretrained(path)
    assert "ran" not in capsys.readouterr().out
