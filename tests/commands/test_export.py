"""bert-export: a folder that transformers loads and that reads back, whole or not there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer, BertForMaskedLM, BertModel

from bert_lightning import export as export_module
from bert_lightning.checkpoints.checkpoint import checkpoint_payload, load_pretrained
from bert_lightning.checkpoints.corpus_sample import corpus_sample
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.export import export, held_out_figures
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.replaced_tokens import ReplacedTokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkout import run_command
from tests.support.checkpoints import assert_same, config_for, write_checkpoint, write_sharded_checkpoint
from tests.support.parity import our_model, packed_examples, padded, random_weights, reference_model
from tests.support.texts import WORDS

STEP = Path("checkpoints") / "step-0000007.ckpt"


def settings(checkpoint: Path, output_dir: Path) -> DictConfig:
    return OmegaConf.create({"checkpoint": str(checkpoint), "output_dir": str(output_dir)})


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """The folder of a run with one checkpoint."""
    write_checkpoint(tmp_path / "run" / STEP, tokenizer, tmp_path / "tokenizer")
    return tmp_path / "run"


def test_an_export_gives_the_same_scores_in_transformers(run: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    output = export(settings(run, tmp_path / "hf"))
    theirs, info = AutoModelForPreTraining.from_pretrained(output, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pretrained, batch = load_pretrained(run), packed_examples()
    model = MaskedLMWithNSP(pretrained.config).eval()
    model.load_state_dict(pretrained.state)
    rows = padded(batch)
    out = theirs.eval()(rows.input_ids, rows.attention_mask, rows.token_type_ids)
    hidden = model.encoder(batch.tokens)
    scores = model.mlm_head.scores(hidden, model.encoder.embeddings.token.weight)[: batch.num_tokens]
    expected = out.prediction_logits[rows.attention_mask.bool()]
    torch.testing.assert_close(scores[:, : pretrained.config.vocab_size], expected, atol=1e-5, rtol=0)
    pair_scores = model.nsp_head.scores(hidden[batch.targets["nsp"].positions[: batch.num_examples]])
    torch.testing.assert_close(pair_scores, out.seq_relationship_logits, atol=1e-5, rtol=0)
    words = AutoTokenizer.from_pretrained(output)
    assert words.mask_token == "[MASK]"
    pair = ("The old King walks .", "a queen sees unhappily")
    assert words(*pair)["input_ids"] == tokenizer.encode(*pair).ids
    assert words(*pair)["token_type_ids"] == tokenizer.encode(*pair).type_ids


def test_an_export_reads_back_and_exports_to_the_same_files(run: Path, tmp_path: Path) -> None:
    output = export(settings(run, tmp_path / "hf"))
    before, after = load_pretrained(run), load_pretrained(output)
    assert before.config == after.config
    assert_same(after.state, before.state)
    again = export(settings(output, tmp_path / "again"))
    assert len({path.stat().st_mode for path in output.iterdir()}) == 1  # whoever may read one file may read them all
    names = sorted(path.name for path in output.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"} < set(names)
    assert names == sorted(path.name for path in again.iterdir())
    assert all((output / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_a_sharded_checkpoint_exports_to_the_same_files(run: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_sharded_checkpoint(tmp_path / "fsdp" / STEP, tokenizer, tmp_path / "tokenizer")
    files = [
        {path.name: path.read_bytes() for path in export(settings(tmp_path / kind, tmp_path / f"hf-{kind}")).iterdir()}
        for kind in ("run", "fsdp")
    ]
    assert files[0] == files[1]


def test_an_export_never_overwrites(run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "hf"
    empty.mkdir()
    export(settings(run, empty))
    for occupied in (empty, tmp_path / "tokenizer" / "vocab.txt"):
        with pytest.raises(ValueError, match=rf"output_dir={occupied} exists and is not empty"):
            export(settings(run, occupied))


def test_a_failed_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="neither a run"):
        export(settings(tmp_path / "tokenizer", tmp_path / "hf"))

    def full_disk(folder: Path, *_: object, **__: object) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError("No space left on device")

    monkeypatch.setattr(export_module, "write_folder", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export(settings(run, tmp_path / "hf"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("objective", "architecture", "unused"),
    [(MaskedLM, "BertForMaskedLM", set()), (MaskedLMWithSOP, "BertForMaskedLM", {"bert.pooler.dense"})],
)
def test_an_export_has_the_heads_that_were_trained_and_no_others(
    tmp_path: Path, tokenizer: Tokenizer, objective: type[MaskedLM], architecture: str, unused: set[str]
) -> None:
    write_checkpoint(tmp_path / "run" / STEP, tokenizer, tmp_path / "tokenizer", objective)
    output = export(settings(tmp_path / "run", tmp_path / "hf"))
    assert json.loads((output / "config.json").read_text())["architectures"] == [architecture]
    theirs, info = BertForMaskedLM.from_pretrained(output, output_loading_info=True)
    assert not info["missing_keys"]
    assert {name.rpartition(".")[0] for name in info["unexpected_keys"]} == unused
    pretrained, batch = load_pretrained(tmp_path / "run"), packed_examples()
    model = objective(pretrained.config).eval()
    model.load_state_dict(pretrained.state)
    rows = padded(batch)
    expected = theirs.eval()(rows.input_ids, rows.attention_mask, rows.token_type_ids).logits
    hidden = model.encoder(batch.tokens)
    scores = model.mlm_head.scores(hidden, model.encoder.embeddings.token.weight)[: batch.num_tokens]
    vocabulary = pretrained.config.vocab_size
    torch.testing.assert_close(scores[:, :vocabulary], expected[rows.attention_mask.bool()], atol=1e-5, rtol=0)


def test_an_encoder_alone_is_exported_as_one(tmp_path: Path) -> None:
    BertModel(reference_model().config).save_pretrained(tmp_path / "encoder")
    output = export(settings(tmp_path / "encoder", tmp_path / "hf"))
    assert json.loads((output / "config.json").read_text())["architectures"] == ["BertModel"]
    _, info = BertModel.from_pretrained(output, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_command_works_and_says_what_is_wrong_in_a_line(run: Path, tmp_path: Path) -> None:
    done = run_command("export", f"checkpoint={run}", "output_dir=hf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hf" / "config.json").is_file()
    done = run_command("export", "checkpoint=nowhere", "output_dir=x", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: checkpoint=nowhere does not exist\n")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["../../../../owned", "OUTSIDE", "owned.py"])
def test_a_checkpoint_writes_nothing_but_a_tokenizer(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside" / "owned"
    outside.parent.mkdir()
    content = torch.load(run / STEP, weights_only=True)
    content["bert_lightning"]["tokenizer"][name.replace("OUTSIDE", str(outside))] = "owned"
    torch.save(content, run / STEP)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"names the files .*owned.*; a tokenizer has special_tokens_map\.json, "):
        export(settings(run, tmp_path / "hf"))
    with pytest.raises(ValueError, match="names the files"):
        load_pretrained(run)
    assert set(tmp_path.rglob("*")) == before


def test_a_tokenizer_that_cannot_be_read_is_not_exported(run: Path, tmp_path: Path) -> None:
    content = torch.load(run / STEP, weights_only=True)
    content["bert_lightning"]["tokenizer"]["tokenizer.json"] = "[" * 100_000
    torch.save(content, run / STEP)
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json"):
        export(settings(run, tmp_path / "hf"))
    assert not (tmp_path / "hf").exists()


def test_the_model_card_has_the_labels_and_the_scores_of_a_fine_tuning(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config, head = config_for(tokenizer), TaskHead("token_classification", ["O", "B-per"])
    state = {
        **{
            k: v for k, v in our_model(reference_model(config), config).state_dict().items() if k.startswith("encoder.")
        },
        "classifier.weight": torch.zeros(2, config.hidden_size),
        "classifier.bias": torch.zeros(2),
    }
    seed = tmp_path / "run" / "seed-3" / "checkpoints"
    seed.mkdir(parents=True)
    content = {"state_dict": {f"objective.{name}": tensor for name, tensor in state.items()}, "global_step": 7}
    torch.save(content | checkpoint_payload(config, tokenizer_files(tokenizer), {}, head), seed / "step-0000007.ckpt")
    metric = {"mean": 0.5, "standard_deviation": None, "values": {"3": 0.5}, "examples": 1200}
    scores = {"task": "ner", "best_seed": 3, "checkpoint": "seed-3/checkpoints/step-0000007.ckpt"}
    (tmp_path / "run" / "scores.json").write_text(json.dumps(scores | {"metrics": {"validation/f1": metric}}))
    card = (export(settings(tmp_path / "run", tmp_path / "hf")) / "README.md").read_text()
    assert "# BertForTokenClassification\n" in card
    assert "Labels: `O`, `B-per`\n" in card
    assert "| validation/f1 | 0.5000 | - | 1 | 1,200 |" in card
    assert "Scores" not in (export(settings(seed / "step-0000007.ckpt", tmp_path / "one")) / "README.md").read_text()
    (tmp_path / "run" / "scores.json").write_text(json.dumps(scores | {"metrics": {"validation/f1": 5}}))
    with pytest.raises(ValueError, match=r"scores\.json has metrics\.validation/f1=5, which must be an object"):
        export(settings(tmp_path / "run", tmp_path / "two"))
    assert not (tmp_path / "two").exists()


def test_the_model_card_has_the_figures_of_the_run_up_to_the_step(run: Path, tmp_path: Path) -> None:
    (run / "metrics.csv").write_text("step,train/loss,val/loss\n5,3.0,2.5\n9,1.0,0.5\n")
    assert held_out_figures(run) == held_out_figures(run / STEP) == {"val/loss": 2.5}
    output = export(settings(run, tmp_path / "hf"))
    assert "| val/loss | 2.5000 |" in (output / "README.md").read_text()
    again = export(settings(output, tmp_path / "again"))
    assert (again / "README.md").read_bytes() == (output / "README.md").read_bytes()
    assert held_out_figures(tmp_path / "nowhere") == held_out_figures(output) == {}


def test_what_bert_tokenizer_cannot_say_is_exported_as_it_is(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Old checkpoints call such a tokenizer a BertTokenizer; the padding of their model is 0 in any case."""
    other = Tokenizer.from_str(tokenizer.to_str())
    other.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    write_checkpoint(tmp_path / "run" / STEP, other, tmp_path / "tokenizer")
    content = torch.load(tmp_path / "run" / STEP, weights_only=True)
    files = content["bert_lightning"]["tokenizer"]
    files["tokenizer_config.json"] = files["tokenizer_config.json"].replace("PreTrainedTokenizerFast", "BertTokenizer")
    torch.save(content, tmp_path / "run" / STEP)
    output = export(settings(tmp_path / "run", tmp_path / "hf"))
    text = "the old king's (queen) x_1 ..."
    assert AutoTokenizer.from_pretrained(output)(text)["input_ids"] == other.encode(text).ids
    assert not (output / "vocab.txt").exists()


@pytest.mark.parametrize("split_emoji", [True, None])
def test_the_setting_that_makes_a_tokenizer_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split_emoji: bool | None
) -> None:
    other = train_wordpiece(WORDS, 120, split_emoji=split_emoji)
    write_checkpoint(tmp_path / "run" / STEP, other, tmp_path / "tokenizer")
    export(settings(tmp_path / "run", tmp_path / "hf"))
    said = "BertTokenizer would give other ids (tokenizer.split_emoji of bert-prepare), so the tokenizer is a "
    assert (said in capsys.readouterr().out) == bool(split_emoji)


def test_the_padding_of_an_export_is_that_of_its_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    words = tokenizer.get_vocab()
    names = sorted(words, key=words.__getitem__)
    (tmp_path / "vocab.txt").write_text("\n".join([*names[1:], names[0]]) + "\n")
    moved = load_tokenizer(tmp_path / "vocab.txt")
    write_checkpoint(tmp_path / "run" / STEP, moved, tmp_path / "tokenizer")
    output = export(settings(tmp_path / "run", tmp_path / "hf"))
    assert json.loads((output / "config.json").read_text())["pad_token_id"] == len(names) - 1
    assert AutoTokenizer.from_pretrained(output).pad_token_id == len(names) - 1


def test_the_sample_of_the_corpus_is_its_text(prepared: Path, tokenizer: Tokenizer) -> None:
    sample = corpus_sample({"data": {"path": str(prepared)}}, tokenizer)
    assert len(sample) > 10
    assert all(set(text.replace(".", " .").split()) <= {*WORDS, "."} for text in sample)
    assert corpus_sample({"data": {"path": "nowhere"}}, tokenizer) == corpus_sample({}, tokenizer) == []


@pytest.mark.parametrize(("act", "kind"), [("gelu", "ElectraForMaskedLM"), ("relu", "AlbertForMaskedLM")])
def test_an_exported_generator_scores_as_that_of_the_run(
    tmp_path: Path, tokenizer: Tokenizer, act: str, kind: str
) -> None:
    """ELECTRA's class has gelu in the head for masked tokens: a generator with another activation is an ALBERT."""
    config = replace(config_for(tokenizer), hidden_act=act)
    model = random_weights(ReplacedTokens(config, generator_size=0.5))
    path = tmp_path / "run" / STEP
    path.parent.mkdir(parents=True)
    state = {f"objective.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(checkpoint_payload(config, tokenizer_files(tokenizer), {}) | {"state_dict": state}, path)
    output = export(settings(path, tmp_path / "hf"))
    theirs = AutoModelForMaskedLM.from_pretrained(output / "generator").eval()
    assert type(theirs).__name__ == kind
    batch = packed_examples()
    rows, tokens = padded(batch), batch.tokens
    hidden = model.generator(tokens)
    scores = model.generator_head.scores(hidden, model.encoder.embeddings.token.weight)[: batch.num_tokens]
    expected = theirs(rows.input_ids, rows.attention_mask, rows.token_type_ids).logits[rows.attention_mask.bool()]
    torch.testing.assert_close(scores[:, : config.vocab_size], expected, atol=1e-5, rtol=0)
