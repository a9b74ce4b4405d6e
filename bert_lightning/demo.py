"""The words around `make demo`: how long it will take, and what the run learned, beside what guessing gives."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import shlex
import shutil
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from bert_lightning.benchmarks.contestants import Setting
from bert_lightning.benchmarks.forecast import seconds_of_steps
from bert_lightning.fill_mask import MaskFiller
from bert_lightning.inference.held_out_hits import Hits, held_out_hits
from bert_lightning.inference.loading import load_model
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.hardware import find_accelerator, resolve_precision
from bert_lightning.settings.phase_settings import build_phases
from bert_lightning.settings.progress_bars import say_end
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline import rng
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.processes.processors import num_processors
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream_statistics import token_counts, unigram_entropy
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import number_of

VOCAB_SIZE = 8192
SEED = 0
HITS = (1, 5)
SENTENCES, SHORTEST, LONGEST = 5, 8, 20
"""Number of sentences shown, and the fewest and most tokens of one."""


def forecast() -> str:
    """Return in words how long the demo's training takes on this machine, from a few of its steps."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        settings = compose("pretrain", ["experiment=demo", f"model.vocab_size={VOCAB_SIZE}", "data.path=demo"])
    accelerator = find_accelerator("auto")
    setting = Setting(
        name="demo",
        config=instantiate(settings.model),
        make_objective=instantiate(settings.objective),
        make_optimizer=instantiate(settings.optimizer),
        accelerator=accelerator,
        precision=resolve_precision("auto", accelerator),
        seq_len=settings.data.seq_len,
        seed=settings.seed,
    )
    minutes = seconds_of_steps(setting, build_phases(settings)) / 60
    return (
        f"the training steps will take about {minutes:.1f} minutes on this machine ({num_processors()} processors, "
        f"{setting.precision}); text, validation and export about two more"
    )


def last_validation(metrics: Path) -> dict[str, float]:
    """Return the last value of every val/ column of a metrics.csv."""
    columns = read_columns(metrics)
    return {name: values[-1] for name, (_, values) in columns.items() if name.startswith("val/")}


def results_table(data: Path, run: Path, model: Path) -> Table:
    """Compare held-out figures with guessing: by token frequencies for MLM, the larger class for NSP."""
    measured = last_validation(RunFolder(run).metrics)
    entropy = unigram_entropy(data, "train")
    mlm, nsp = measured["val/mlm_loss"], measured["val/nsp_accuracy"]
    majority = max(measured["val/random_next"], 1 - measured["val/random_next"])
    table = Table("on held-out documents", "this model", "guessing", "better by", title="What it learned")
    table.add_row("MLM loss (nats a token)", f"{mlm:.3f}", f"{entropy:.3f}", f"{entropy - mlm:.3f}")
    found = hits(data, run, model)
    for most in HITS:
        name = "the first guess" if most == 1 else f"the first {most} guesses"
        one, other = found.model[most], found.commonest[most]
        table.add_row(f"masked token among {name}", f"{one:.1%}", f"{other:.1%}", f"{one - other:.1%}")
    table.add_row("NSP accuracy", f"{nsp:.1%}", f"{majority:.1%}", f"{nsp - majority:.1%}")
    return table


def hits(data: Path, run: Path, model: Path) -> Hits:
    """Return how often the model's first guesses for the held-out masks are right, and the commonest tokens."""
    settings = OmegaConf.load(RunFolder(run).config)
    samples = PretrainingSamples(
        folder=data,
        split="validation",
        pairs=instantiate(settings.pairs),
        masking=instantiate(settings.validation.masking),
        seq_len=settings.data.seq_len,
        seed=settings.validation.seed,
        shuffle=False,
    )
    limits = {"guesses": HITS, "max_samples": settings.data.validation_samples}
    return held_out_hits(load_model(model), samples, token_counts(data, "train"), **limits)


def held_out_sentences(data: Path) -> Iterator[list[int]]:
    """Yield the held-out sentences of a length that fits a line, as token ids."""
    folder = PreparedFolder(data)
    for entry in folder.manifest.splits["validation"]:
        shard = folder.read([entry])[0]
        for begin, end in pairwise(shard.sentence_offsets.tolist()):
            if SHORTEST <= end - begin <= LONGEST:
                yield shard.tokens[begin:end].tolist()


def guesses_table(data: Path, model: Path) -> Table:
    """Fill in one mask in each of a few held-out sentences; the seed decides which token is masked."""
    fill = MaskFiller(model)
    special = special_tokens(fill.tokenizer)
    table = Table("held-out sentence", "truth", "its five best guesses", title="What it would fill in")
    for row, ids in enumerate(islice(held_out_sentences(data), SENTENCES)):
        hidden = int(rng.integers(rng.fold(SEED, row), 0, len(ids)))
        masked = [*ids[:hidden], special.mask, *ids[hidden + 1 :]]
        best = fill.fill([special.cls, *masked, special.sep], top_k=5)[0]
        guesses = "  ".join(f"{printable(guess.token)} {guess.probability:.0%}" for guess in best)
        text = fill.tokenizer.decode(masked, skip_special_tokens=False)
        table.add_row(printable(text), printable(fill.tokenizer.id_to_token(ids[hidden]) or "?"), guesses)
    return table


def show(data: Path, run: Path, model: Path) -> None:
    """Print the page for a prepared folder, the run trained on it and the exported model."""
    console = Console(markup=False, emoji=False)
    console.print(results_table(data, run, model), guesses_table(data, model))
    for source in PreparedFolder(data).manifest.sources:
        about = f"text: {source.name}, {number_of(source.documents, 'document')}, {source.licence}, {source.origin}"
        console.print(printable(about))
    say_end([("run", run), ("report", RunFolder(run).report), ("model", model)], next_lines(run, model))


def next_lines(run: Path, model: Path) -> list[str]:
    """Return the three commands to type after the demo, with the folder of the programs if they are not on the PATH.

    Args:
        run: Folder of the run.
        model: The exported model.
    """
    programs = Path(sys.executable).parent
    is_on_path = Path(shutil.which("bert-prepare") or "").parent == programs
    folder = programs.relative_to(Path.cwd()) if Path.cwd() in programs.parents else programs
    lines = (
        f"bert-fill-mask checkpoint={shlex.quote(str(model))} text='The [MASK] of the city is in the north.'",
        f"bert-finetune task=classification task.path=<table.csv> task.text=<column> task.label=<column> "
        f"checkpoint={shlex.quote(str(run))}",
        "bert-prepare corpus=books corpus.path=<folder of text files> output_dir=data tokenizer.vocab_size=8192",
    )
    return [line if is_on_path else shlex.quote(str(folder)) + "/" + line for line in lines]


if __name__ == "__main__":
    if sys.argv[1:] == ["forecast"]:
        print(forecast(), flush=True)
    else:
        show(**{name: Path(value) for name, value in (argument.split("=", 1) for argument in sys.argv[1:])})
