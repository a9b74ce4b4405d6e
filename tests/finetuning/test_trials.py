"""A fine-tuning as a trial of a search: all of its seeds are one trial."""

from pathlib import Path

import optuna
from tokenizers import Tokenizer

from bert_lightning.finetune import finetune
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, open_storage
from bert_lightning.sweeps.search_settings import Goal, read_goal
from bert_lightning.sweeps.trial_rows import end_value
from tests.finetuning.tiny_task import settings
from tests.support.runs import compose_here
from tests.support.settings import Settings

GOAL = Goal("val/accuracy", "maximize")


def as_trial(base: Settings, folder: SweepFolder, pruner: str) -> Settings:
    storage = open_storage(str(folder.journal))
    study = optuna.create_study(study_name="sweep", storage=storage, direction="maximize")
    study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2)})
    folder.write_study(NotedStudy(None, "sweep"))
    trial = (
        f"{{_target_:bert_lightning.callbacks.trial.TrialReport,sweep_dir:'{folder.path}',"
        f"number:0,metric:val/accuracy,seed:${{seed}},pruner:{pruner}}}"
    )
    return base | {"run_name": "sweep/trial-0000", "resume": "auto", "seeds": 2, "+callbacks.trial": trial}


def stored(folder: SweepFolder) -> optuna.trial.FrozenTrial:
    (trial,) = optuna.load_study(study_name="sweep", storage=open_storage(str(folder.journal))).trials
    return trial


def test_seeds_report_one_after_another_and_their_mean_counts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = SweepFolder(tmp_path / "runs" / "sweep")
    cfg = compose_here("finetune", as_trial(settings(tmp_path, tokenizer), folder, "null"))
    assert read_goal(cfg) == GOAL
    assert end_value(stored(folder), folder.trial(0), GOAL, is_finetuning=True) is None
    finetune(cfg)
    scores = FinetunedFolder(folder.trial(0)).read_scores()
    assert scores is not None
    assert end_value(stored(folder), folder.trial(0), GOAL, True) == scores["metrics"]["validation/accuracy"]["mean"]
    assert list(stored(folder).intermediate_values) == [4, 8, 12, 16]


def test_a_pruned_trial_trains_no_further_seed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = SweepFolder(tmp_path / "runs" / "sweep")
    never_enough = "{_target_:optuna.pruners.ThresholdPruner,lower:2.0}"
    cfg = compose_here("finetune", as_trial(settings(tmp_path, tokenizer), folder, never_enough))
    assert finetune(cfg) is None
    assert [path.name for path in folder.trial(0).glob("seed-*")] == ["seed-0"]
    assert list(stored(folder).intermediate_values) == [4]
    assert stored(folder).user_attrs["pruned"] is True
    assert end_value(stored(folder), folder.trial(0), GOAL, True) is None
