"""The modern recipe against BERT's at equal tokens: runs, then a table of what is done.

    python docs/studies/modern.py data=<prepared folder> output_dir=outputs/modern

Encoders have 4 layers of 128. `tokens=` is the length of every arm (10 million), `seeds=` the number of seeds, and
arms=<name>,<name> makes these alone. A study that was interrupted goes on with the same line. Every run is measured on
the same held-out pairs of segments with 15% masks.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from leaving_the_plateau import AT_128, Overrides, curves, is_finished, spread, tokens_to

from bert_lightning.metrics.metrics_log import read_columns


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of a table.

    Attributes:
        name: The name in the table and of the folders.
        settings: The settings that differ from `COMMON`.
        share: Share of the tokens of the study.
        begins_from: The arm whose weights this one begins with, which reads the rest of the tokens.
    """

    name: str
    settings: Overrides = field(default_factory=dict)
    share: float = 1.0
    begins_from: str | None = None


COMMON: Overrides = AT_128 | {
    "model.num_hidden_layers": 4,
    "model.hidden_size": 128,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 512,
    "pairs@validation.pairs": "segment_pair",
    "trainer.val_check_interval": 100,
}
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
MODERN: Overrides = {"experiment": "recipes/modern", "model.intermediate_size": 344, "optimizer.lr": 2e-3}
LATE: Overrides = MODERN | {"experiment": "recipes/modern_late_masks"}
CAUSAL: Overrides = MODERN | {"experiment": "recipes/modern_causal"}
PHASES = "[{seq_len:32,global_batch_size:128,micro_batch_size:128,share:0.7},{seq_len:128,share:0.3}]"

ARMS = (
    *(Arm(f"bert-{rate:g}", {"experiment": "recipes/bert", "optimizer.lr": rate}) for rate in RATES),
    *(Arm(f"modern-{rate:g}", MODERN | {"optimizer.lr": rate}) for rate in RATES[1:]),
    Arm("modern-phases", MODERN | {"phases": PHASES}),
    Arm("modern-muon", MODERN | {"optimizer": "muon", "optimizer.lr": 4e-3}),
    Arm("modern-late", LATE, share=0.8),
    Arm("modern-late-then-ordinary", MODERN, share=0.2, begins_from="modern-late"),
    Arm("modern-causal", CAUSAL, share=0.3),
    Arm("modern-causal-then-masked", MODERN, share=0.7, begins_from="modern-causal"),
)


def command(arm: Arm, seed: int, tokens: int, data: str, folder: Path) -> list[str]:
    """Return the command of one run."""
    where: Overrides = {
        "data.path": data,
        "output_dir": folder,
        "run_name": f"{arm.name}-{seed}",
        "resume": "auto",
        "seed": seed,
        "trainer.max_tokens": round(tokens * arm.share),
    }
    if arm.begins_from is not None:
        where = {**where, "init_from": folder / f"{arm.begins_from}-{seed}"}
    settings = {**COMMON, **arm.settings, **where}
    words = [f"{name}={'null' if value is None else value}" for name, value in settings.items()]
    return [sys.executable, "-m", "bert_lightning.pretrain", *words]


def table(folder: Path, seeds: int) -> str:
    """Return a Markdown table of what is finished, with the tokens to the end of the best arm called bert."""
    found = {arm.name: [folder / f"{arm.name}-{seed}" for seed in range(seeds)] for arm in ARMS}
    runs = {name: [run for run in paths if is_finished(run)] for name, paths in found.items()}
    berts = [mean(curves(run)[-1][1] for run in paths) for name, paths in runs.items() if paths and name[:4] == "bert"]
    lines = ["| arm | runs | tokens | val/mlm_loss | mlm accuracy | tokens to the best BERT's end |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, paths in runs.items():
        columns = [read_columns(run / "metrics.csv") for run in paths]
        if not paths:
            continue
        last = [{key: values[-1] for key, (_, values) in each.items()} for each in columns]
        losses, accuracies = ([run.get(f"val/{key}") for run in last] for key in ("mlm_loss", "mlm_accuracy"))
        to = [tokens_to(curves(run), min(berts)) for run in paths] if berts and None not in losses else [None]
        reached = [each for each in to if each is not None]
        cells = [
            name,
            str(len(paths)),
            f"{last[0]['progress/tokens'] / 1e6:.2f} M",
            *("-" if None in values else spread(values) for values in (losses, accuracies)),
            f"{mean(reached) / 1e6:.2f} M" if reached else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are not finished, and print the table after each."""
    settings = dict(word.split("=", 1) for word in sys.argv[1:])
    folder, seeds, tokens = Path(settings["output_dir"]), int(settings.get("seeds", 1)), settings.get("tokens", "10e6")
    wanted = settings["arms"].split(",") if "arms" in settings else [arm.name for arm in ARMS]
    for seed in range(seeds):
        for arm in ARMS:
            if arm.name in wanted and not is_finished(folder / f"{arm.name}-{seed}"):
                subprocess.run(command(arm, seed, round(float(tokens)), settings["data"], folder), check=True)
                print(table(folder, seeds), flush=True)
    print(table(folder, seeds))


if __name__ == "__main__":
    main()
