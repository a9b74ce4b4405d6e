"""Every recipe runs to its end at the smallest size, goes on where it stopped, and is exported as what it is."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.export import export
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.run_folder import RunFolder
from tests.support.runs import repeatable, run_here
from tests.support.settings import SIZES, Settings

EXPERIMENTS = Path(CONF_DIR) / "experiment" / "recipes"
OF_RECIPES = ("model", "optimizer.lr", "data.global_batch_size", "data.micro_batch_size", "data.seq_len")
SMALL: Settings = {
    "data.seq_len": 48,
    "data.global_batch_size": 16,
    "data.micro_batch_size": 8,
    "data.validation_samples": 16,
    "schedule.warmup_steps": 0,
    "trainer.max_steps": 4,
    "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 4,
    "callbacks.checkpoint.every_n_steps": 2,
}
MODERN: Settings = {"model.local_attention": 8, "schedule.decay_steps": 2}
RECIPES: dict[str, tuple[Settings, str]] = {
    "bert": (
        {
            "model.hidden_size": 64,
            "phases": "[{seq_len:32,global_batch_size:32,micro_batch_size:16,share:0.5},{seq_len:48,share:0.5}]",
        },
        "BertForPreTraining",
    ),
    "roberta": ({}, "RobertaForMaskedLM"),
    "albert": ({"model.embedding_size": 16}, "AlbertForPreTraining"),
    "modern": (MODERN, "ModernBertForMaskedLM"),
    "modern_late_masks": (MODERN, "ModernBertForMaskedLM"),
    "modern_causal": (MODERN, ""),
}


def settings_of(name: str, base: Settings) -> Settings:
    """The recipe with the sizes of the tiny model, and the rest as the recipe has it."""
    kept = {key: value for key, value in base.items() if key not in OF_RECIPES and not key.startswith("model.")}
    sizes = {f"model.{size}": value for size, value in SIZES.items()}
    return kept | {"experiment": f"recipes/{name}"} | sizes | SMALL | RECIPES[name][0]


def test_every_recipe_is_here() -> None:
    assert {path.stem for path in EXPERIMENTS.glob("*.yaml")} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_goes_on_and_is_exported(name: str, base: Settings, tmp_path: Path) -> None:
    settings = settings_of(name, base) | {"run_name": name}
    run = RunFolder(tmp_path / "runs" / name)
    assert run_here(settings).global_step == 4
    whole = repeatable(run.path)
    run_here(settings | {"resume": run.checkpoint(2)})
    assert repeatable(run.path)[4] == whole[4]
    if kind := RECIPES[name][1]:
        wanted = OmegaConf.create({"checkpoint": str(run.path), "output_dir": str(tmp_path / "hf")})
        assert json.loads((export(wanted) / "config.json").read_text())["architectures"] == [kind]


def test_a_causal_run_begins_a_masked_one(base: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second run has the weights of the first: at a rate of zero its encoder stays what the first one ended as."""
    causal = settings_of("modern_causal", base) | {"run_name": "causal", "trainer.max_steps": 2}
    run_here(causal)
    caplog.set_level("INFO", "bert_lightning")
    masked = settings_of("modern", base) | {"run_name": "masked", "init_from": tmp_path / "runs" / "causal"}
    run_here(masked | {"optimizer.lr": 0.0, "optimizer.weight_decay": 0.0})
    assert "init_from has no mlm_head" in caplog.text
    first, second = (load_pretrained(tmp_path / "runs" / run).state for run in ("causal", "masked"))
    encoder = {name for name in second if name.startswith("encoder.")}
    assert encoder == set(first)
    assert all(torch.equal(first[name], second[name]) for name in encoder)


def test_late_masks_refuse_graphs_of_few_shapes(base: Settings, tmp_path: Path) -> None:
    settings = settings_of("modern_late_masks", base) | {"run_name": "late", "compile": "layers"}
    with pytest.raises(ValueError, match=r"compile\.dynamic=false .* objective=late_masks .*compile\.dynamic=true"):
        run_here(settings | {"compile.dynamic": False})
    assert not (tmp_path / "runs").exists()
