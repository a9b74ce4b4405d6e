"""What a search is given: settings of its sweeper, samplers and pruners of any class, and data to measure on."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from bert_lightning.reports.trial_row import COMPLETE, PRUNED, TrialRow
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.sweeps import sweep_files
from bert_lightning.sweeps.search_settings import check_measured, read_settings, usual_settings
from hydra_plugins.bert_lightning_sweeps import OptunaSweeper
from tests.support.runs import compose_here
from tests.support.settings import Settings
from tests.support.texts import tiny_texts, write_prepared
from tests.sweeps.fake_search import FormulaLauncher, Killed, search

HALTON = "_target_: optuna.samplers.QMCSampler, qmc_type: halton"
HYDRAS = ("_target_", "_recursive_", "params")
"""Keys of hydra.sweeper that are none of the settings of a search."""


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer than a trial that is a formula."""
    monkeypatch.setattr(sweep_files, "search_page", lambda *ignored: "")


def chosen(rows: list[TrialRow]) -> list[tuple[int, dict[str, object]]]:
    return [(row.number, dict(row.values)) for row in rows]


def test_a_sampler_and_a_pruner_may_be_given_by_their_names(tmp_path: Path) -> None:
    """Without a pruner every trial makes all its steps; a seed draws the same values again."""
    names = {"sampler": "optuna.samplers.RandomSampler", "pruner": "optuna.pruners.NopPruner"}
    first = search(FormulaLauncher(tmp_path / "a"), n_trials=3, **names)
    again = search(FormulaLauncher(tmp_path / "b"), n_trials=3, **names)
    other = search(FormulaLauncher(tmp_path / "c"), n_trials=3, seed=1, **names)
    assert chosen(first) == chosen(again)
    assert chosen(first) != chosen(other)
    assert len({row.values["optimizer.lr"] for row in first}) == 3


@pytest.mark.parametrize(
    ("sweeper", "said"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials"),
        ({"max_time": "8h"}, "hydra.sweeper.max_time must be DD:HH:MM:SS"),
        ({"keep_weights": "some"}, "hydra.sweeper.keep_weights must be one of all, best; got some"),
        ({"enqueue": [{"seed": 1}]}, "hydra.sweeper.enqueue names seed, which is not searched: optimizer.lr"),
        ({"enqueue": [{"optimizer.lr": 3}]}, "optimizer.lr=3, but the search is over 1e-05 to 0.1 on a log scale"),
        ({"sampler._target_": "optuna.samplers.Nobody"}, "hydra.sweeper.sampler"),
        ({"pruner": "optuna.pruners.Nobody"}, "hydra.sweeper.pruner=.*Nobody"),
        ({"pruner.n_laps": 3}, "hydra.sweeper.pruner.*n_laps"),
        ({"timeout": 5}, "hydra.sweeper.timeout is none of the settings of a search: n_trials, "),
        ({"sampler": "optuna.samplers.BruteForceSampler"}, "hydra.sweeper.sampler=optuna.samplers.BruteForceSampler"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_written(
    tmp_path: Path, sweeper: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        search(FormulaLauncher(tmp_path / "lr"), **sweeper)
    assert not (tmp_path / "lr" / "trials.csv").exists()


@pytest.mark.parametrize("sampler", ["BruteForceSampler", "GridSampler"])
def test_a_grid_that_is_exhausted_ends_the_search(tmp_path: Path, sampler: str) -> None:
    """Every point of it is tried once, also if the search is killed; another start adds none."""
    grid = {"optimizer.lr": [1e-3, 1e-2], "model.num_attention_heads": [1, 2]}
    given = {"_target_": f"optuna.samplers.{sampler}"} | ({"search_space": grid} if sampler == "GridSampler" else {})
    words = ["optimizer.lr=1e-3,1e-2", "model.num_attention_heads=1,2"]

    def kill(number: int, step: int) -> None:
        if number == 2 and not dead:
            dead.append(number)
            raise Killed

    dead: list[int] = []
    launcher = FormulaLauncher(tmp_path / "lr", at=kill)
    with pytest.raises(Killed):
        search(launcher, words, n_trials=9, sampler=given, pruner=None)
    for _ in range(2):
        rows = search(launcher, words, n_trials=9, sampler=given, pruner=None)
        assert [row.state in (COMPLETE, PRUNED) for row in rows] == [True] * 4
        assert len({tuple(row.values.values()) for row in rows}) == 4


def test_a_sampler_of_another_class_is_not_given_what_it_does_not_take(tmp_path: Path) -> None:
    """Hydra merges a sampler of the user's own with the options of the default."""
    settings = read_settings(
        {"sampler": {**usual_settings()["sampler"], "_target_": "optuna.samplers.QMCSampler", "qmc_type": "halton"}}
    )
    assert settings.sampler == {"_target_": "optuna.samplers.QMCSampler", "qmc_type": "halton"}
    assert settings.pruner == usual_settings()["pruner"]
    percentile = {**usual_settings()["pruner"], "_target_": "optuna.pruners.PercentilePruner", "percentile": 75.0}
    assert read_settings({"pruner": percentile}).pruner == percentile
    launcher = FormulaLauncher(tmp_path / "lr")
    assert len(search(launcher, n_trials=2, **{"pruner._target_": "optuna.pruners.NopPruner"})) == 2


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (
            None,
            ["hydra/sweeper=optuna", "+hydra.sweeper.sampler={_target_: optuna.samplers.QMCSampler, qmc_type: halton}"],
        ),
        ("defaults: [optuna]\n", ["hydra/sweeper=mine"]),
        ("_target_: hydra_plugins.bert_lightning_sweeps.OptunaSweeper\n_recursive_: false\n", ["hydra/sweeper=mine"]),
    ],
)
def test_options_of_a_sampler_are_given_as_the_docs_say(tmp_path: Path, mine: str | None, words: list[str]) -> None:
    (tmp_path / "hydra" / "sweeper").mkdir(parents=True)
    sampler = f"sampler: {{{HALTON}}}\n"
    (tmp_path / "hydra" / "sweeper" / "mine.yaml").write_text((mine or "") + sampler)
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        config = compose("pretrain", [f"hydra.searchpath=[file://{tmp_path}]", *words], return_hydra_config=True)
    given = {str(key): value for key, value in config.hydra.sweeper.items() if key not in HYDRAS}
    settings = read_settings(given)
    assert settings.sampler == {"_target_": "optuna.samplers.QMCSampler", "qmc_type": "halton"}
    assert (settings.n_trials, settings.pruner) == (20, usual_settings()["pruner"])


def test_parameters_of_a_sweeper_are_overrides() -> None:
    """Those that are texts are in Hydra's words; a group or null is what it is in the file."""
    params = {"optimizer.lr": "interval(1e-4,1e-2)", "gradient_clip_val": None, "model": {"a": [1, "x y"]}}
    words = OptunaSweeper(params=OmegaConf.create(params))._overrides(["seed=1"])  # type: ignore[arg-type]
    assert words == ["optimizer.lr=interval(1e-4,1e-2)", "gradient_clip_val=null", "model={a:[1,'x y']}", "seed=1"]


def test_data_without_held_out_documents_are_refused(base: Settings, tokenizer: Tokenizer, tmp_path: Path) -> None:
    check_measured(compose_here("pretrain", base))
    with pytest.raises(ValueError, match=r"sweep\.metric=val/loss .* got trainer\.limit_val_batches=0"):
        check_measured(compose_here("pretrain", base | {"trainer.limit_val_batches": 0}))
    alone = write_prepared(tmp_path / "alone", tokenizer, [tiny_texts(12)], [])
    with pytest.raises(ValueError, match=r"measured on held-out documents, but data.path=.*alone has none"):
        check_measured(compose_here("pretrain", base | {"data.path": alone}))
    assert OmegaConf.is_missing(compose_here("pretrain", {}).data, "path")
    check_measured(compose_here("pretrain", {}))


def test_a_sampler_that_lacks_a_package_says_so_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(self: object, *args: object) -> None:
        raise ModuleNotFoundError("No module named 'cmaes'")

    monkeypatch.setattr("optuna.samplers.CmaEsSampler.sample_relative", lack)
    with pytest.raises(ValueError, match=r"sampler=optuna\.samplers\.CmaEsSampler cannot work: No .* 'cmaes'"):
        search(FormulaLauncher(tmp_path / "lr"), n_trials=1, sampler="optuna.samplers.CmaEsSampler")
