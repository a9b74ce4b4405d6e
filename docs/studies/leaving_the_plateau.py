"""The runs of docs/recipes.md, one after another, and the table and the curves of those that are finished.

    python docs/studies/leaving_the_plateau.py tiny data=outputs/demo-data output_dir=outputs/plateau
    python docs/studies/leaving_the_plateau.py mini data=<prepared folder> output_dir=outputs/plateau

A study that was interrupted goes on with the same line; arms=<name>,<name> makes these arms alone. All arms of a study
read about as many tokens, but for those whose name says how many; every run has the learning-rate schedule of its
length. Arms are compared by their loss on held-out examples of 128 tokens with 15% masks.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from bert_lightning.metrics.metrics_log import read_columns

SEEDS = (0, 1, 2)
COLORS = {
    "baseline": "#8a9099",
    "phases": "#e09f3e",
    "start": "#33658a",
    "both": "#c8553d",
    "both-40-percent": "#6d4c7d",
}
"""Colors of the arms that the chart shows."""
Overrides = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of a study's table.

    Attributes:
        name: The name in the table and of the folders.
        settings: What differs from the other arms.
        seeds: The seeds that it is run with.
        optimizer: The optimizer and its settings; None takes those of the study.
    """

    name: str
    settings: Overrides
    seeds: Sequence[int] = SEEDS
    optimizer: Overrides | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """Arms that are compared, and what they have in common."""

    common: Overrides
    optimizer: Overrides
    arms: Sequence[Arm] = field(default_factory=tuple)

    def runs(self) -> Iterator[tuple[Arm, int]]:
        """Yield arms with seeds: those of several seeds first, and of these the first seed of every arm."""
        for turn, seed in enumerate(SEEDS):
            yield from ((arm, seed) for arm in self.arms if len(arm.seeds) > 1 and turn < len(arm.seeds))
        yield from ((arm, seed) for arm in self.arms if len(arm.seeds) == 1 for seed in arm.seeds)


def phases(short: int, short_steps: int, short_batch: int, long_steps: int) -> Overrides:
    """Return settings of a short phase, then one of 32 examples of 128 tokens."""
    first = f"{{seq_len:{short},steps:{short_steps},global_batch_size:{short_batch},micro_batch_size:{short_batch}}}"
    last = f"{{seq_len:128,steps:{long_steps},global_batch_size:32,micro_batch_size:32}}"
    return {"phases": f"[{first},{last}]", "trainer.max_steps": short_steps + long_steps}


def one_length(steps: int) -> Overrides:
    """Return settings of examples of 128 tokens from the first step to the last."""
    return {"phases": None, "trainer.max_steps": steps}


START = {"model.initialization": "neighbors"}
MASKS = {rate: {"masking.mask_prob": rate} for rate in (0.15, 0.3, 0.4)}
MUON = {"optimizer": "muon", "optimizer.lr": 4e-3, "optimizer.adamw_lr": 2e-3}
TINY_PHASES = phases(32, 1200, 64, 350)
MINI_PHASES = phases(32, 1900, 128, 900)
MINI_PHASES_40_PERCENT = phases(32, 760, 128, 360)

TINY = Study(
    common={
        "experiment": "demo",
        "model.initialization": "bert",
        "data.num_workers": 0,
        "trainer.val_check_interval": 100,
        "trainer.log_every_n_steps": 100,
        "callbacks.checkpoint.every_n_steps": 500,
        "callbacks.guesses": None,
        "logger": "csv",
    },
    optimizer={"optimizer": "adamw", "optimizer.lr": 2e-3, "optimizer.betas": "[0.9,0.98]"},
    arms=(
        Arm("baseline", one_length(950) | MASKS[0.3]),
        Arm("phases", TINY_PHASES | MASKS[0.3]),
        Arm("start", one_length(950) | MASKS[0.3] | START),
        Arm("both", TINY_PHASES | MASKS[0.3] | START),
        Arm("both-muon", TINY_PHASES | MASKS[0.3] | START, (0,), MUON),
        Arm("both-masks-15", TINY_PHASES | MASKS[0.15] | START, (0,)),
        Arm("both-masks-40", TINY_PHASES | MASKS[0.4] | START, (0,)),
        Arm("baseline-masks-15", one_length(950) | MASKS[0.15], (0,)),
        Arm("both-long-second", phases(32, 900, 64, 700) | MASKS[0.3] | START, (0,)),
        Arm("both-first-16", phases(16, 1200, 128, 350) | MASKS[0.3] | START, (0,)),
        Arm("both-first-64", phases(64, 1200, 32, 350) | MASKS[0.3] | START, (0,)),
        Arm("baseline-4-times", one_length(3800) | MASKS[0.3], (0,)),
        Arm("both-4-times", phases(32, 4800, 64, 1400) | MASKS[0.3] | START, (0,)),
    ),
)

AT_128: dict[str, object] = {
    "model.max_position_embeddings": 128,
    "model.hidden_dropout_prob": 0.0,
    "model.attention_probs_dropout_prob": 0.0,
    "data.seq_len": 128,
    "data.global_batch_size": 32,
    "data.micro_batch_size": 32,
    "data.validation_micro_batch_size": 64,
    "data.validation_samples": 2000,
    "data.num_workers": 0,
    "trainer.val_check_interval": 250,
    "trainer.log_every_n_steps": 50,
    "callbacks.checkpoint.every_n_steps": 500,
    "callbacks.guesses": None,
    "logger": "csv",
}
"""Settings of studies on sequences of 128 tokens."""
MINI = Study(
    common={"model": "bert_mini"} | AT_128,
    optimizer={"optimizer": "adamw", "optimizer.lr": 1e-3, "optimizer.betas": "[0.9,0.98]"},
    arms=(
        Arm("baseline", one_length(2700)),
        Arm("both-40-percent", MINI_PHASES_40_PERCENT | START),
        Arm("both", MINI_PHASES | START),
        Arm("phases", MINI_PHASES),
        Arm("start", one_length(2700) | START),
        Arm("both-masks-30", MINI_PHASES | START | MASKS[0.3]),
        Arm("baseline-masks-30", one_length(2700) | MASKS[0.3]),
        Arm("baseline-30m", one_length(8000), (0,)),
        Arm("both-30m", phases(32, 5700, 128, 2700) | START, (0,)),
    ),
)

STUDIES = {"tiny": TINY, "mini": MINI}


def command(study: Study, arm: Arm, seed: int, data: str, folder: Path) -> list[str]:
    """Return the command of one run."""
    optimizer = study.optimizer if arm.optimizer is None else arm.optimizer
    where = {"data.path": data, "output_dir": folder, "resume": "auto", "seed": seed}
    settings = {**study.common, **optimizer, **arm.settings, **where}
    words = [f"{name}={'null' if value is None else value}" for name, value in settings.items()]
    return [sys.executable, "-m", "bert_lightning.pretrain", f"run_name={arm.name}-{seed}", *words]


def is_finished(run: Path) -> bool:
    """Return whether a run has been validated after its last step; one that was stopped has a report too."""
    path = run / "metrics.csv"
    if not path.exists():
        return False
    steps, _ = read_columns(path).get("val/loss", ([], []))
    return bool(steps) and steps[-1] == OmegaConf.load(run / "config.yaml").trainer.max_steps


def curves(run: Path) -> list[tuple[float, float]]:
    """Return pairs of tokens read and held-out loss of a run."""
    columns = read_columns(run / "metrics.csv")
    steps, losses = columns["val/mlm_loss"]
    tokens = dict(zip(*columns["progress/tokens"], strict=True))
    return [(tokens[step], loss) for step, loss in zip(steps, losses, strict=True) if step in tokens]


def tokens_to(curve: Sequence[tuple[float, float]], loss: float) -> float | None:
    """Return how many tokens a run had read when its held-out loss first was at most `loss`; None if never."""
    return next((tokens for tokens, value in curve if value <= loss), None)


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in words."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(study: Study, folder: Path) -> str:
    """Return a Markdown table of what is finished, with the tokens that an arm takes to the mean end of `baseline`."""
    found = [(arm, [folder / f"{arm.name}-{seed}" for seed in arm.seeds]) for arm in study.arms]
    runs = {arm.name: [run for run in paths if is_finished(run)] for arm, paths in found}
    ends = [curves(run)[-1][1] for run in runs["baseline"]]
    lines = ["| arm | runs | tokens | val/mlm_loss | mlm accuracy | nsp accuracy | tokens to the baseline's end |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, paths in runs.items():
        if not paths:
            continue
        last = [{key: values[-1] for key, (_, values) in read_columns(run / "metrics.csv").items()} for run in paths]
        to = [tokens_to(curves(run), mean(ends)) for run in paths] if ends else []
        reached = [tokens for tokens in to if tokens is not None]
        saved = f"{mean(reached) / 1e6:.2f} M ({len(reached)} of {len(to)})" if reached else "-"
        quantities = [
            spread([run[f"val/{each}"] for run in last]) for each in ("mlm_loss", "mlm_accuracy", "nsp_accuracy")
        ]
        lines.append(
            f"| {name} | {len(paths)} | {last[0]['progress/tokens'] / 1e6:.2f} M | {' | '.join(quantities)} | {saved} |"
        )
    return "\n".join(lines)


def chart(study: Study, folder: Path, path: Path) -> None:
    """Draw the held-out loss of the main arms over the tokens that they have read, a line for each run."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for arm in (arm for arm in study.arms if arm.name in COLORS):
        for seed in arm.seeds:
            if is_finished(run := folder / f"{arm.name}-{seed}"):
                tokens, losses = zip(*curves(run), strict=True)
                label = arm.name if seed == arm.seeds[0] else None
                axes.plot([each / 1e6 for each in tokens], losses, color=COLORS[arm.name], label=label)
    axes.set_xlabel("million tokens")
    axes.set_ylabel("held-out loss of masked tokens, nats")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run what is not finished, print the table, and draw the chart."""
    settings = dict(word.split("=", 1) for word in sys.argv[2:])
    study, folder = STUDIES[sys.argv[1]], Path(settings["output_dir"]) / sys.argv[1]
    names = [arm.name for arm in study.arms]
    wanted = settings["arms"].split(",") if "arms" in settings else names
    if unknown := set(wanted) - set(names):
        raise SystemExit(f"arms={','.join(unknown)} is none of {', '.join(names)}")
    for arm, seed in study.runs():
        if arm.name not in wanted or is_finished(folder / f"{arm.name}-{seed}"):
            continue
        subprocess.run(command(study, arm, seed, settings["data"], folder), check=True)
        print(table(study, folder), flush=True)
    print(table(study, folder))
    chart(study, folder, folder / "curves.png")


if __name__ == "__main__":
    main()
