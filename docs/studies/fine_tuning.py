"""The figures of docs/fine-tuning.md: what fine-tuning reaches from several encoders, mean and spread over seeds.

    python docs/studies/fine_tuning.py data=../shared/data output_dir=outputs/fine-tuning minilm=<folder> mini=<run>

`data` has folders glue, squad and tagging with the files that people download; `minilm` is a Hugging Face folder, and
`mini` a run of bert-pretrain. Its sizes with random weights are the encoder `random`. A study that was interrupted goes
on with the same line; rows=<name>,<name> makes these rows alone.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

Overrides = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Row:
    """One fine-tuning of the table.

    Attributes:
        encoder: What it starts from.
        name: The name in the table and of the folder.
        task: Name of the task's YAML.
        files: What the task reads, below `data`.
        settings: Settings that differ from those of the task.
        seeds: Number of seeds.
    """

    encoder: str
    name: str
    task: str
    files: Overrides
    settings: Overrides = field(default_factory=dict)
    seeds: int = 3


GLUE = {"task.path": "glue"}
TAGS = {
    "task.path": "tagging",
    "task.train": "en_ewt-ud-train.conllu",
    "task.validation": "en_ewt-ud-dev.conllu",
    "task.test": "en_ewt-ud-test.conllu",
}
SQUAD = {
    "task.path": "squad",
    "task.train": "squadshifts-new_wiki.json",
    "task.validation": "dev-v1.1.rebuilt.json",
}
SQUAD_OF_128 = SQUAD | {"data.seq_len": 128, "task.doc_stride": 64}
"""SQuAD for an encoder that has no more than 128 positions."""
SMALL_RATE = {"optimizer.lr": 1e-4}
"""Learning rate for encoders of a few million weights, as Google's own small BERTs take it (Turc et al., 2019)."""
QNLI_HALVES = {
    "task.path": "glue/QNLI/dev.tsv",
    "task.text": "question",
    "task.text_pair": "sentence",
    "task.label": "label",
    "task.validation_share": 0.5,
}
"""QNLI's training questions are not at hand: half of its dev set trains, half is scored."""
OWN_TASKS = {
    "sst2": ("sst2", GLUE, 2),
    "qnli-half": ("classification", QNLI_HALVES, 5),
    "tags": ("pos", TAGS, 2),
    "squad": ("squad", SQUAD_OF_128, 2),
}
"""Task, files and epochs of the rows that compare a pre-trained encoder with random weights."""
FEW_LABELS = {"sst2-1-percent": 673, "sst2-10-percent": 6735}

ROWS = (
    Row("minilm", "mrpc", "mrpc", GLUE, {"epochs": 5, "optimizer.lr": 5e-5}, seeds=1),
    Row("minilm", "tags", "pos", TAGS, {"optimizer.lr": 1e-4}, seeds=1),
    Row("minilm", "sst2", "sst2", GLUE, {"epochs": 2, "optimizer.lr": 5e-5}, seeds=1),
    Row("minilm", "cola", "cola", GLUE, {"epochs": 5, "optimizer.lr": 5e-5}),
    Row("minilm", "rte", "rte", GLUE, {"epochs": 5, "optimizer.lr": 5e-5}),
    Row("minilm", "squad", "squad", SQUAD, {"epochs": 2, "optimizer.lr": 1e-4}, seeds=1),
    Row("minilm-random", "squad", "squad", SQUAD, {"epochs": 2, "optimizer.lr": 1e-4}, seeds=1),
    *(
        Row(encoder, name, task, files, SMALL_RATE | {"epochs": epochs})
        for name, (task, files, epochs) in OWN_TASKS.items()
        for encoder in ("mini", "mini-random")
    ),
    *(
        Row(encoder, name, "sst2", GLUE, SMALL_RATE | {"epochs": 5, "task.train_examples": examples})
        for name, examples in FEW_LABELS.items()
        for encoder in ("mini", "mini-random", "minilm")
    ),
)


def command(row: Row, encoder: str, data: Path, folder: Path) -> list[str]:
    """Return the command of one row."""
    files = {name: data / str(value) if name == "task.path" else value for name, value in row.files.items()}
    where = {"checkpoint": encoder, "output_dir": folder, "run_name": f"{row.encoder}-{row.name}", "resume": "auto"}
    settings = {"task": row.task, **files, **row.settings, **where, "seeds": row.seeds, "logger": "csv"}
    words = [f"{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "bert_lightning.finetune", *words]


def scores(row: Row, folder: Path) -> dict[str, Any] | None:
    """Return the scores of a row that is finished."""
    path = folder / f"{row.encoder}-{row.name}" / "scores.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(folder: Path) -> str:
    """Return a Markdown table of what is finished: mean and standard deviation of each metric in percent."""
    lines = ["| encoder | task | metric | mean ± standard deviation | seeds | examples |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        if (found := scores(row, folder)) is None:
            continue
        for name, value in found["metrics"].items():
            spread = f" ± {100 * value['standard_deviation']:.1f}" if len(value["values"]) > 1 else ""
            mean = f"{100 * value['mean']:.1f}{spread}"
            lines.append(
                f"| {row.encoder} | {row.name} | {name} | {mean} | {len(value['values'])} | {value['examples']} |"
            )
    return "\n".join(lines)


def random_encoder(encoder: str, folder: Path) -> str:
    """Write a folder with the sizes and the tokenizer of an encoder and random weights, and return its path."""
    if not folder.exists():
        exported = Path(encoder)
        if not (exported / "config.json").exists():
            exported = folder.with_name(f"{folder.name}-trained")
            export = [sys.executable, "-m", "bert_lightning.export", f"checkpoint={encoder}", f"output_dir={exported}"]
            subprocess.run(export, check=True)
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.from_pretrained(exported)).save_pretrained(folder)
        for path in (*exported.glob("*token*"), *exported.glob("vocab.txt")):
            shutil.copy(path, folder)
    return str(folder)


def main() -> None:
    """Fine-tune what is not finished, and print the table."""
    settings = dict(word.split("=", 1) for word in sys.argv[1:])
    folder, data = Path(settings["output_dir"]), Path(settings["data"])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = settings["rows"].split(",") if "rows" in settings else None
    for row in ROWS:
        base, _, is_random = row.encoder.partition("-")
        if scores(row, folder) or base not in settings or (wanted and f"{row.encoder}-{row.name}" not in wanted):
            continue
        encoder = random_encoder(settings[base], folder / row.encoder) if is_random else settings[base]
        subprocess.run(command(row, encoder, data, folder), check=True)
        print(table(folder), flush=True)
    print(table(folder))


if __name__ == "__main__":
    main()
