"""The last page of `make demo`: what the run learned, beside what guessing gives, and where everything is."""

import csv
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bert_lightning.fill_mask import fill_mask
from data_pipeline.manifest import Manifest
from data_pipeline.statistics import unigram_entropy

SENTENCES = (
    "In the beginning God created the heaven and the [MASK].",
    "The king of [MASK] sent his servants to the city.",
    "He was born in [MASK] and died in 1901.",
    "The city is the capital of the [MASK].",
    "She was the [MASK] of the king.",
)


def last_validation(metrics: Path) -> dict[str, float]:
    """Return the last value of every val/ column of a metrics.csv."""
    values: dict[str, float] = {}
    with metrics.open() as file:
        for row in csv.DictReader(file):
            values |= {name: float(value) for name, value in row.items() if name.startswith("val/") and value}
    return values


def results_table(data: Path, run: Path) -> Table:
    """Compare the held-out losses with guessing: token frequencies for MLM, the larger class for NSP."""
    measured = last_validation(run / "metrics.csv")
    entropy = unigram_entropy(data, "train")
    table = Table("held-out documents", "this model", "guessing", "better by", title="What it learned")
    mlm, nsp = measured["val/mlm_loss"], measured["val/nsp_accuracy"]
    majority = max(measured["val/random_next"], 1 - measured["val/random_next"])
    table.add_row("MLM loss (nats)", f"{mlm:.3f}", f"{entropy:.3f}", f"{entropy - mlm:.3f}")
    table.add_row("NSP accuracy", f"{nsp:.3f}", f"{majority:.3f}", f"{nsp - majority:.3f}")
    return table


def main() -> None:
    """Print the page; arguments are data=, run= and model= folders."""
    folders = {name: Path(value) for name, value in (argument.split("=", 1) for argument in sys.argv[1:])}
    console = Console()
    manifest = Manifest.load(folders["data"])
    console.print(results_table(folders["data"], folders["run"]))
    guesses = Table("sentence", "the model's five best", title="What it would fill in")
    for sentence in SENTENCES:
        best = fill_mask(folders["model"], sentence, top_k=5)[0]
        guesses.add_row(
            sentence.replace("[", r"\["), "  ".join(f"{guess.token} {guess.probability:.0%}" for guess in best)
        )
    console.print(guesses)
    console.print("Trained on " + "; ".join(f"{source.name} ({source.licence})" for source in manifest.sources))
    console.print(f"run: {folders['run']}    report: {folders['run'] / 'report.html'}    model: {folders['model']}")


if __name__ == "__main__":
    main()
