"""bert-finetune: train a task from an encoder, one run a seed, and write what all seeds have reached."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from bert_lightning.distributed.collectives import shut_down
from bert_lightning.distributed.launcher import watch_launcher
from bert_lightning.finetuning.grid import Results, grid_points, grid_table, mean_score, winner
from bert_lightning.finetuning.job import Job, prepare_job
from bert_lightning.finetuning.score_files import SeedScores, scores_table, seeds_of, summary, write_summary
from bert_lightning.finetuning.seed_plan import SeedRun, plan_seed
from bert_lightning.finetuning.seed_run import run_seed
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import is_first_process
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.training.trainers import quieten


def finetune(cfg: DictConfig) -> dict[str, Any] | None:
    """Train all seeds and return the metrics over them, None if the run was told to stop before its end.

    Args:
        cfg: The settings; they are not changed.

    Raises:
        ValueError: for settings or files that cannot work, before any process is started or any file is written.
    """
    quieten()
    watch_launcher()
    job = prepare_job(cfg)
    results: dict[str, dict[str, SeedScores]] = {}
    for point, runs in _plan(cfg, job).items():
        results[point] = {}
        for folder, run in runs.items():
            scores = run_seed(job, run)
            if scores is None:
                return None
            results[point][folder] = scores
    shut_down()
    if is_first_process():
        _conclude(FinetunedFolder(cfg.run_dir), results)
    return summary(list(results[winner(results)].values()))


def _plan(cfg: DictConfig, job: Job) -> dict[str, dict[str, SeedRun]]:
    """Return every seed of every point of the grid, by the folder of the seed; one point without a grid."""
    seeds = seeds_of(cfg.seed, cfg.seeds)
    if not cfg.grid:
        return {"": {f"seed-{seed}": plan_seed(cfg, job, f"seed-{seed}", seed, None, None) for seed in seeds}}
    return {
        point: {
            folder: plan_seed(cfg, job, folder, seed, lr, batch_size)
            for seed in seeds
            for folder in [f"{point}/seed-{seed}"]
        }
        for point, (lr, batch_size) in grid_points(cfg.grid_lr, cfg.grid_batch_size).items()
    }


def _conclude(folder: FinetunedFolder, results: Results) -> None:
    """Write and show what all seeds have reached, of the best point if there is a grid."""
    best, console = winner(results), Console(markup=False, emoji=False)
    grid = {"grid": {point: mean_score(seeds) for point, seeds in results.items()}, "winner": best} if best else {}
    write_summary(folder.path, results[best], grid)
    if best:
        console.print(grid_table(results))
    seeds = list(results[best].values())
    console.print(scores_table(f"{seeds[0].task}{f', {best}' if best else ''}", summary(seeds)))
    print(f"{folder.scores}: mean, standard deviation and the values of all seeds")


main = entry_point("finetune", finetune)

if __name__ == "__main__":
    main()
