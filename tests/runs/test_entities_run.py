"""A run with entities: it learns them, goes on, is refused another table, and is read as an ordinary BERT."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained, read_about
from bert_lightning.checkpoints.huggingface import read_folder
from bert_lightning.checkpoints.saved_state import saved_external_inputs
from bert_lightning.export import export
from bert_lightning.finetuning.starting_weights import starting_state
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.models.encoder import Encoder
from data_pipeline.prepared.manifest import Manifest
from tests.runs.linked import write_linked
from tests.support.parity import packed_examples
from tests.support.runs import assert_same_end, run_here
from tests.support.settings import NO_DROPOUT, Settings

ERNIE: Settings = {"objective": "entity_denoising"}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return write_linked(tmp_path_factory.mktemp("linked"), tokenizer)


def test_a_run_learns_entities_resumes_and_is_read_as_a_bert(
    base: Settings, linked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = base | NO_DROPOUT | ERNIE | {"data.path": linked}
    run_here(settings | {"run_name": "whole", "callbacks.checkpoint.keep_last": None})
    folder = tmp_path / "runs" / "whole"
    columns = read_columns(folder / "metrics.csv")
    losses = columns["train/entity_loss"][1]
    assert losses[-1] < losses[0]
    assert columns["val/entity_accuracy"][1][-1] > columns["val/entity_chance"][1][-1]
    assert 0 < columns["val/noised_share"][1][-1] < 0.4
    assert 0 < columns["val/recovered_share"][1][-1] <= columns["val/noised_share"][1][-1]
    checkpoint = folder / "checkpoints" / "step-0000010.ckpt"
    run_here(settings | {"run_name": "part", "resume": checkpoint})
    assert_same_end(tmp_path / "runs" / "part", folder)

    pretrained = load_pretrained(folder)
    assert {name.split(".")[0] for name in pretrained.state} == {"encoder", "mlm_head", "nsp_head", "entity_head"}
    assert pretrained.fusing_layers == [2]
    knowledge = Manifest.load(linked).knowledge
    assert knowledge is not None
    assert saved_external_inputs(read_about(checkpoint), "") == {
        "entity vectors": f"entity vectors of sha256 {knowledge.files['vectors'].sha256}"
    }
    capsys.readouterr()
    output = export(OmegaConf.create({"checkpoint": str(folder), "output_dir": str(tmp_path / "hf")}))
    assert "reads text alone; layers that read entities in training: 2" in capsys.readouterr().out
    assert json.loads((output / "config.json").read_text())["architectures"] == ["BertForPreTraining"]
    states = []
    batch = packed_examples()
    batch.tokens.input_ids.remainder_(100)
    for state in (pretrained.state_of("encoder"), encoder_of(output), encoder_of_task(folder)):
        encoder = Encoder(pretrained.config)
        encoder.load_state_dict(state)
        states.append(encoder.eval()(batch.tokens))
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder of a Hugging Face folder."""
    _, state, _ = read_folder(folder)
    return {name.removeprefix("encoder."): each for name, each in state.items() if name.startswith("encoder.")}


def encoder_of_task(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder that a task begins with."""
    state = starting_state(load_pretrained(folder), parts=[])
    return {name.removeprefix("encoder."): each for name, each in state.items()}


def test_another_table_is_refused_by_name(base: Settings, linked: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    settings = base | ERNIE | {"trainer.max_steps": 5, "objective.pair_target": None, "pairs": "full_sentences"}
    run_here(settings | {"run_name": "a", "data.path": linked})
    checkpoint = tmp_path / "runs" / "a" / "checkpoints" / "step-0000005.ckpt"
    other, wider = (write_linked(tmp_path / f"{size}", tokenizer, size, seed=1) for size in (8, 12))
    with pytest.raises(
        ValueError, match=r"with entity vectors of sha256 \w+; the settings say entity vectors of sha256 \w+$"
    ):
        run_here(settings | {"run_name": "b", "data.path": other, "resume": checkpoint, "trainer.max_steps": 6})
    with pytest.raises(
        ValueError, match=r"init_from has encoder\.layers\.1\.entity\..* of \(8.*, the settings say \(12"
    ):
        run_here(settings | {"run_name": "c", "data.path": wider, "init_from": checkpoint})
    run_here(settings | {"run_name": "d", "data.path": other, "init_from": checkpoint, "trainer.max_steps": 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"compile": "layers", "compile.dynamic": False}, r"compile\.dynamic=false .* compile\.dynamic=true"),
        ({"pairs": "full_sentences"}, r"objective\.pair_target=nsp, but .* objective\.pair_target=null"),
        ({"objective.entity_heads": 3}, r"size 8 cannot be cut into objective\.entity_heads=3"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(
    base: Settings, linked: Path, tmp_path: Path, change: Settings, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        run_here(base | ERNIE | {"data.path": linked, "run_name": "a"} | change)
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_mentions_is_refused(base: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no mentions of entities; prepare it with corpus\.links=true"):
        run_here(base | ERNIE | {"run_name": "a"})
    assert not (tmp_path / "runs").exists()
