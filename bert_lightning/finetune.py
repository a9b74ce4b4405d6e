"""bert-finetune: train a task from an encoder, one run a seed, and write what all seeds have reached."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from bert_lightning.callbacks.preemption import queued_again_when_warned
from bert_lightning.checkpoints.checkpoint import Pretrained
from bert_lightning.checkpoints.next_commands import after_training
from bert_lightning.distributed.collectives import gather_objects, shut_down
from bert_lightning.distributed.launcher import watch_launcher
from bert_lightning.finetuning.glue_suite import FROM_MNLI, tasks_in, write_suite
from bert_lightning.finetuning.grid import Results, grid_points, grid_table, mean_score, winner
from bert_lightning.finetuning.job import Job, prepare_job
from bert_lightning.finetuning.score_files import SeedScores, scores_table, seeds_of, summary, write_summary
from bert_lightning.finetuning.seed_plan import SeedRun, check_finished, plan_seed
from bert_lightning.finetuning.seed_run import run_seed
from bert_lightning.finetuning.seed_training import DivergedError
from bert_lightning.finetuning.variants import variant_settings, write_variants
from bert_lightning.reports.guessing import larger_class
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.config import filled_in, is_first_process
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.progress_bars import say_end
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps.folder_kinds import FINETUNING, GRID, SUITE, VARIANTS, check_kind
from bert_lightning.training.time_limit import counted_as_one_launch
from bert_lightning.training.trainers import quieten
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)


def finetune(cfg: DictConfig) -> dict[str, Any] | None:
    """Train all seeds and return the metrics over them, None if the run was told to stop before its end or was pruned.

    With task=glue it is the metrics of every task, with variants those of every variant.

    Args:
        cfg: The settings; they are not changed.

    Raises:
        ValueError: for settings or files that cannot work, before any process is started or any file is written.
    """
    with queued_again_when_warned(), counted_as_one_launch():  # decorators could not be pickled for a job of submitit
        return _finetune(cfg)


def _finetune(cfg: DictConfig) -> dict[str, Any] | None:
    quieten()
    watch_launcher()
    if cfg.variants is not None:
        results = _finetune_variants(cfg)
    else:
        results = _finetune_glue(cfg) if cfg.task.get("tasks") is not None else _finetune_task(cfg)
    shut_down()
    return results


def _check_folder(cfg: DictConfig, wanted: str) -> None:
    """Raise a ValueError on the first process if the folder holds something else than what is wanted."""
    if is_first_process():
        check_kind(Path(cfg.run_dir), cfg.run_name, wanted)


def _finetune_task(cfg: DictConfig) -> dict[str, Any] | None:
    """Train all seeds of one task, and every point of its grid."""
    job = prepare_job(cfg)
    plan = _plan(cfg, job)
    with _held(RunFolder(cfg.run_dir)):
        return _train_planned(cfg, job, plan)


@contextmanager
def _held(folder: RunFolder) -> Iterator[None]:
    """Hold the folder of a fine-tuning on the first process, so that no other command trains or scores there.

    Raises:
        ValueError: if another command holds it, or has held it since this one was planned.
    """
    if not is_first_process():
        yield
        return
    with folder.locked() as has_waited:
        if has_waited:
            raise ValueError(f"another command has meanwhile gone on in {folder.path}; give the same command again")
        yield


def _train_planned(cfg: DictConfig, job: Job, plan: Mapping[str, Mapping[str, SeedRun]]) -> dict[str, Any] | None:
    """Train all seeds of a plan that are not finished, and write what all have reached; None as of `finetune`."""
    results: dict[str, dict[str, SeedScores]] = {}
    diverged: dict[str, DivergedError] = {}
    for point, runs in plan.items():
        try:
            seeds = _run_point(job, runs)
        except DivergedError as error:
            if not cfg.grid:
                raise
            diverged[point] = error
            log.warning("%s is left out, its training diverged: %s", point, error)
            continue
        if seeds is None:
            return None
        results[point] = seeds
    if not results:
        raise ValueError(f"the training of every point of the grid diverged: {diverged.popitem()[1]}")
    if is_first_process():
        _conclude(FinetunedFolder(cfg.run_dir), results, list(diverged))
        _say_end(cfg, FinetunedFolder(cfg.run_dir).scores, _next_commands(cfg, job))
    return summary(list(results[winner(results)].values()))


def _run_point(job: Job, runs: Mapping[str, SeedRun]) -> dict[str, SeedScores] | None:
    """Train the seeds of a point and return the scores of each; None if one was told to stop or was pruned."""
    seeds = {}
    for folder, run in runs.items():
        scores = run_seed(job, run)
        if scores is None:
            return None
        seeds[folder] = scores
    return seeds


def _finetune_glue(cfg: DictConfig) -> dict[str, Any] | None:
    """Train every task of GLUE that has files, each as a fine-tuning of its own, and show the table."""
    names = tasks_in(Path(cfg.task.path), list(cfg.task.tasks))
    if cfg.task.mnli_first and "mnli" not in names:
        raise ValueError(f"task.mnli_first=true, but task.path={cfg.task.path} has no files of mnli")
    _check_folder(cfg, SUITE)
    planned = {name: _task_settings(cfg, name) for name in names}
    _check(planned)
    mnli = {"checkpoint": f"{cfg.run_dir}/mnli"}
    for name in (name for name in FROM_MNLI if cfg.task.mnli_first and name in names):
        planned[f"{name}_from_mnli"] = _task_settings(cfg, name, f"{name}_from_mnli", mnli)
    results = _finetune_all(planned)
    if results is not None and is_first_process():
        Console(markup=False, emoji=False).print(write_suite(Path(cfg.run_dir) / "glue.json", results))
        _say_end(cfg, Path(cfg.run_dir) / "glue.json")
    return results


def _finetune_variants(cfg: DictConfig) -> dict[str, Any] | None:
    """Train every variant of a task, each as a fine-tuning of its own, and show the table."""
    planned = variant_settings(cfg)
    _check_folder(cfg, VARIANTS)
    _check(planned)
    results = _finetune_all(planned)
    if results is not None and is_first_process():
        table = write_variants(Path(cfg.run_dir) / "variants.json", results, cfg.task.chosen_by)
        Console(markup=False, emoji=False).print(table)
        _say_end(cfg, Path(cfg.run_dir) / "variants.json")
    return results


def _check(planned: Mapping[str, DictConfig]) -> None:
    """Raise a ValueError if settings or files of any of several fine-tunings cannot work, before the first trains."""
    for settings in planned.values():
        _plan(settings, prepare_job(settings))


def _finetune_all(planned: Mapping[str, DictConfig]) -> dict[str, Any] | None:
    """Train one task after another and return the metrics of each; None if one was told to stop."""
    results = {}
    for name, settings in planned.items():
        metrics = _finetune_task(settings)
        if metrics is None:
            return None
        gather_objects(None)  # the first process may still write what the next one begins from
        results[name] = metrics
    return results


def _task_settings(
    cfg: DictConfig, name: str, folder: str | None = None, more: Mapping[str, Any] | None = None
) -> DictConfig:
    """Return the settings of one task of GLUE: those of all tasks with the file of the task in conf/task."""
    task = OmegaConf.load(Path(CONF_DIR) / "task" / f"{name}.yaml")
    changes = {"path": cfg.task.path, "train_examples": cfg.task.train_examples}
    settings = OmegaConf.merge(OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "task"]))
    assert isinstance(settings, DictConfig)
    OmegaConf.set_struct(settings, False)
    settings.task = OmegaConf.merge(task, changes)
    settings.run_name = f"{cfg.run_name}/{folder or name}"
    return filled_in(settings, more or {})


def _plan(cfg: DictConfig, job: Job) -> dict[str, dict[str, SeedRun]]:
    """Return every seed of every point of the grid, by the folder of the seed; one point without a grid."""
    _check_folder(cfg, GRID if cfg.grid else FINETUNING)
    seeds = seeds_of(cfg.seed, cfg.seeds)
    if cfg.grid:
        plan = {
            point: {
                folder: plan_seed(cfg, job, folder, seed, lr, batch_size)
                for seed in seeds
                for folder in [f"{point}/seed-{seed}"]
            }
            for point, (lr, batch_size) in grid_points(cfg.grid_lr, cfg.grid_batch_size).items()
        }
    else:
        plan = {"": {f"seed-{seed}": plan_seed(cfg, job, f"seed-{seed}", seed, None, None) for seed in seeds}}
    check_finished([run for runs in plan.values() for run in runs.values()], job)
    return plan


def _conclude(folder: FinetunedFolder, results: Results, diverged: list[str]) -> None:
    """Write and show what all seeds have reached, of the best point if there is a grid, and which points diverged."""
    best, console = winner(results), Console(markup=False, emoji=False)
    means = {point: mean_score(seeds) for point, seeds in results.items()}
    grid = {"grid": means, "winner": best, "diverged": diverged} if best else {}
    write_summary(folder.path, results[best], grid)
    if best:
        console.print(grid_table(results, diverged))
    seeds = list(results[best].values())
    console.print(scores_table(f"{seeds[0].task}{f', {best}' if best else ''}", summary(seeds)))
    if guess := larger_class(folder):
        console.print(printable(guess), soft_wrap=True)


def _say_end(cfg: DictConfig, scores: Path, next_lines: Sequence[str] = ()) -> None:
    """Write the report of all seeds, and print where everything is and what to do with it."""
    places: list[tuple[str, object]] = [("run", cfg.run_dir), ("scores", scores)]
    if cfg.callbacks.get("report") is not None:
        from bert_lightning.reports.finetuning_page import write_finetuning_report  # the charts take a second to load

        places.append(("report", write_finetuning_report(Path(cfg.run_dir))))
    say_end(places, next_lines)


def _next_commands(cfg: DictConfig, job: Job) -> list[str]:
    settings = {"task": OmegaConf.to_container(cfg.task)}
    return after_training(Pretrained(job.config, {}, {}, job.head(), settings), cfg.run_dir)


main = entry_point("finetune", finetune)

if __name__ == "__main__":
    main()
