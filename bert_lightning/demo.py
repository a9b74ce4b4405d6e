"""The last page of `make demo`: what the run learned, beside what guessing gives, and where everything is."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bert_lightning.fill_mask import MaskFiller
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.streams.stream_statistics import unigram_entropy

SENTENCES = (
    "in the beginning god created the heaven and the [MASK].",
    "and the king said [MASK] him, go in peace.",
    "he was born in [MASK] and died in 1901.",
    "the city is the capital [MASK] the country.",
    "it is one of the [MASK] important works of the century.",
)


def last_validation(metrics: Path) -> dict[str, float]:
    """Return the last value of every val/ column of a metrics.csv."""
    columns = read_columns(metrics)
    return {name: values[-1] for name, (_, values) in columns.items() if name.startswith("val/")}


def results_table(data: Path, run: Path) -> Table:
    """Compare the held-out losses with guessing: token frequencies for MLM, the larger class for NSP."""
    measured = last_validation(RunFolder(run).metrics)
    entropy = unigram_entropy(data, "train")
    mlm, nsp = measured["val/mlm_loss"], measured["val/nsp_accuracy"]
    majority = max(measured["val/random_next"], 1 - measured["val/random_next"])
    table = Table("on held-out documents", "this model", "guessing", "better by", title="What it learned")
    table.add_row("MLM loss (nats a token)", f"{mlm:.3f}", f"{entropy:.3f}", f"{entropy - mlm:.3f}")
    table.add_row("NSP accuracy", f"{nsp:.3f}", f"{majority:.3f}", f"{nsp - majority:.3f}")
    return table


def guesses_table(model: Path) -> Table:
    """Fill in a few masks with the exported model."""
    fill = MaskFiller(model)
    table = Table("sentence", "its five best guesses", title="What it would fill in")
    for sentence in SENTENCES:
        best = fill(sentence, top_k=5)[0]
        guesses = "  ".join(f"{guess.token} {guess.probability:.0%}" for guess in best)
        table.add_row(sentence.replace("[", r"\["), guesses)
    return table


def show(data: Path, run: Path, model: Path) -> None:
    """Print the page for a prepared folder, the run trained on it and the exported model."""
    console = Console()
    console.print(results_table(data, run), guesses_table(model))
    for source in Manifest.load(data).sources:
        console.print(f"text: {source.name}, {source.documents:,} documents, {source.licence}, {source.origin}")
    console.print(f"run: {run}\nreport: {RunFolder(run).report}\nmodel: {model}", style="bold")


if __name__ == "__main__":
    show(**{name: Path(value) for name, value in (argument.split("=", 1) for argument in sys.argv[1:])})
