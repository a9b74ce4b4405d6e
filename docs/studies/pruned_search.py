"""Whether a search that prunes ends as well as one that does not, with fewer steps. It has not been run whole yet.

    python docs/studies/pruned_search.py data=<prepared folder> output_dir=outputs/pruning

For each of three seeds the same space is searched twice, with 16 trials of 480 steps and six validations each: once
with the default pruner and once with none. A study that was interrupted goes on with the same line; seeds=0,1 makes
the searches of these seeds alone. A trial of 480 steps takes about two minutes on one core.
"""

import csv
import subprocess
import sys
from pathlib import Path

from leaving_the_plateau import spread

SEEDS = "0,1,2"
PRUNERS = {"full": ["hydra.sweeper.pruner=null"], "pruned": []}
SPACE = (
    "optimizer.lr=tag(log,interval(1e-4,3e-2))",
    "masking.mask_prob=interval(0.1,0.4)",
    "schedule.warmup_steps=interval(0.02,0.4)",
)
SETTINGS = (
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=16",
    "hydra.sweeper.keep_weights=best",
    "model=bert_tiny",
    "model.initialization=neighbors",
    "model.initializer_range=0.06",
    "model.max_position_embeddings=32",
    "model.hidden_dropout_prob=0.0",
    "model.attention_probs_dropout_prob=0.0",
    "data.seq_len=32",
    "data.global_batch_size=64",
    "data.micro_batch_size=64",
    "data.validation_micro_batch_size=64",
    "data.validation_samples=1000",
    "data.num_workers=0",
    "trainer.max_steps=480",
    "trainer.val_check_interval=80",
    "trainer.log_every_n_steps=80",
    "callbacks.checkpoint.every_n_steps=480",
    "callbacks.guesses=null",
    "logger=csv",
)


def search(kind: str, seed: int, data: str, folder: str) -> Path:
    """Run a search, or go on with it, and return its folder."""
    name = f"{kind}-{seed}"
    where = (f"data.path={data}", f"output_dir={folder}", f"run_name={name}", f"hydra.sweeper.seed={seed}")
    words = ["--multirun", *SETTINGS, *SPACE, *where, *PRUNERS[kind]]
    subprocess.run([sys.executable, "-m", "bert_lightning.pretrain", *words], check=True)
    return Path(folder) / name


def trials(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a search's trials.csv."""
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def best(rows: list[dict[str, str]]) -> float:
    """Return the lowest held-out loss of the whole trials."""
    return min(float(row["value"]) for row in rows if row["state"] == "complete")


def main() -> None:
    """Run all searches and print the table."""
    settings = dict(word.split("=", 1) for word in sys.argv[1:])
    print("| seed | search | whole trials | pruned | steps | best val/loss |\n|---|---|---|---|---|---|")
    steps: dict[str, list[int]] = {kind: [] for kind in PRUNERS}
    losses: dict[str, list[float]] = {kind: [] for kind in PRUNERS}
    for seed in map(int, settings.get("seeds", SEEDS).split(",")):
        for kind in PRUNERS:
            rows = trials(search(kind, seed, settings["data"], settings["output_dir"]))
            states = [row["state"] for row in rows]
            steps[kind].append(sum(int(row["steps"]) for row in rows))
            losses[kind].append(best(rows))
            counts = f"{states.count('complete')} | {states.count('pruned')} | {steps[kind][-1]:,}"
            print(f"| {seed} | {kind} | {counts} | {losses[kind][-1]:.4f} |", flush=True)
    for kind, values in losses.items():
        print(f"{kind}: best {spread(values)}, steps {sum(steps[kind]):,}")
    print(f"steps of the pruned searches: {sum(steps['pruned']) / sum(steps['full']):.0%} of the full ones")


if __name__ == "__main__":
    main()
