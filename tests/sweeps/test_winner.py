"""The best trial as a config: run, it has the settings of the trial."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from bert_lightning.reports.trial_row import COMPLETE, TrialRow
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.started_command import started_by
from bert_lightning.sweeps.winner import as_config, base_config, command

OVERRIDES = [
    "model=bert_mini",
    "data.path='a folder'",
    "experiment=bert_two_phases",
    "masking@validation.masking=span",
    "~callbacks.guesses",
    "+logger.wandb.tags=[a,b]",
    "optimizer.betas=[0.9,0.98]",
    "phases.0.micro_batch_size=16",
    "trainer.max_steps=5000",
    "run_name=lr",
    "resume=auto",
    "optimizer.lr=0.00123456789",
    "schedule=cosine",
]


def started(config_name: str, **folders: Path) -> DictConfig:
    """Return Hydra's own settings of a command that was started with configs of the user's own."""
    sources = [{"provider": "main", "schema": "file", "path": CONF_DIR}]
    sources += [{"provider": "command-line", "schema": "file", "path": str(path)} for path in folders.values()]
    job = {"name": "pretrain", "config_name": config_name}
    return OmegaConf.create({"job": job, "runtime": {"config_sources": sources}})


def test_the_config_of_the_winner_is_that_of_its_trial(tmp_path: Path) -> None:
    row = TrialRow(3, COMPLETE, 7.5, {}, "out/lr/trial-0003")
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        trial = compose("pretrain", [each for each in OVERRIDES if "run_name" not in each and "resume" not in each])
        loader = GlobalHydra.instance().config_loader()
        hydra = started(config_name="pretrain")
        text = as_config(row, "val/loss", hydra, base_config(hydra), OVERRIDES, trial, loader, tmp_path / "lr")
    assert text.splitlines()[0] == f"# Trial 3 of the search {tmp_path / 'lr'}: val/loss=7.5, trained in {row.run_dir}"
    (tmp_path / "best.yaml").write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        again = compose("best", [f"hydra.searchpath=[file://{CONF_DIR}]"])
    assert again.run_name == "lr-best"
    found, expected = (OmegaConf.to_container(each) for each in (again, trial))
    assert isinstance(found, dict)
    assert isinstance(expected, dict)
    assert found["callbacks"].pop("guesses") is None
    assert found | {"run_name": expected["run_name"]} == expected


def test_the_winner_of_a_search_that_began_from_a_winner_is_a_config_to_run(tmp_path: Path) -> None:
    """`--config-dir=first --config-name=best` again: its text is kept beside the new one, which has the same name."""
    first, lr = tmp_path / "first", tmp_path / "lr"
    (first / "model").mkdir(parents=True)
    lr.mkdir()
    (first / "model" / "mine.yaml").write_text("defaults: [bert_mini]\nhidden_size: 24\n")
    (first / "best.yaml").write_text(
        "defaults: [pretrain, _self_]\nhydra: {searchpath: []}\nrun_name: old\ngradient_clip_val: 0.5\n"
    )
    hydra = started("best", config_dir=first)
    assert started_by(hydra) == ["bert-pretrain", f"--config-dir={first}", "--config-name=best"]
    base = base_config(hydra)
    assert base.content is not None
    (lr / "base.yaml").write_text(base.content)
    row = TrialRow(3, COMPLETE, 7.5, {}, "out/lr/trial-0003")
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        overrides = ["model=mine", "optimizer.lr=0.001"]
        loader = GlobalHydra.instance().config_loader()
        text = as_config(row, "val/loss", hydra, base, overrides, compose("pretrain"), loader, lr)
    assert f"# bert-pretrain --config-dir={lr} --config-name=best run_name=lr-best" in text.splitlines()
    (lr / "best.yaml").write_text(text.replace("searchpath:\n", f"searchpath:\n  - file://{CONF_DIR}\n"))
    with initialize_config_dir(str(lr), version_base="1.3"):
        again = compose("best", ["data.path=x"])
    assert (again.model.hidden_size, again.gradient_clip_val, again.optimizer.lr) == (24, 0.5, 0.001)
    assert again.run_name == "lr-best"


def test_the_line_of_the_winner_is_the_runs_alone() -> None:
    line = command(["bert-pretrain"], OVERRIDES, "lr-best")
    assert line.startswith("bert-pretrain model=bert_mini ")
    assert line.endswith(" schedule=cosine run_name=lr-best")
    assert "resume" not in line
    assert "run_name=lr " not in line
