"""A task of a few short texts that a tiny model learns, a Hugging Face folder to start from, and runs of both."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from bert_lightning.finetune import finetune
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.support.checkout import checkout_environment
from tests.support.runs import compose_here
from tests.support.settings import NO_DROPOUT, SIZES, Settings, overrides
from tests.support.warm_start import run_module

WORDS = {"good": ("alpha", "beta", "gamma"), "bad": ("delta", "kappa", "omega")}
Lines = list[dict[str, Any]]


def write_texts(folder: Path, sizes: dict[str, int], seed: int = 0) -> Path:
    """Write a TSV with a class, a number and a set of classes for each text, for every split."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        rows = ["text\tother\tlabel\tnumber\tclasses"]
        for row in range(size):
            label = ("good", "bad")[row % 2]
            text = " ".join(draw.choices(WORDS[label], k=draw.randint(2, 9)))
            rows.append(f"{text}\t{text[:12]}\t{label}\t{row % 2 + 0.5}\t{label},any")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_encoder(folder: Path, tokenizer: Tokenizer) -> Path:
    """Write a tiny encoder without a trained head."""
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **SIZES)).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


def settings(folder: Path, tokenizer: Tokenizer) -> Settings:
    """Settings of a fine-tuning of 8 steps, two epochs, without dropout."""
    return NO_DROPOUT | {
        "task": "classification",
        "task.path": write_texts(folder / "texts", {"train": 60, "dev": 30, "test": 13}),
        "checkpoint": write_encoder(folder / "encoder", tokenizer),
        "output_dir": folder / "runs",
        "run_name": "run",
        "logger": "csv",
        "data.seq_len": 32,
        "data.global_batch_size": 16,
        "epochs": 2,
        "optimizer.lr": 3e-3,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.log_every_n_steps": 2,
        "callbacks.throughput.peak_flops": 1e12,
    }


def finetune_here(given: Settings) -> Any:
    """Fine-tune in this process and return the metrics; an error is what the command says in its one line."""
    try:
        return finetune(compose_here("finetune", given))
    except HydraException as error:
        raise error.__cause__ or error from None


def command(given: Settings, launcher: tuple[str, ...] | list[str] = ("-m",)) -> list[str]:
    """Return the command line of bert-finetune."""
    return [sys.executable, *launcher, "bert_lightning.finetune", *overrides(given)]


def finetune_apart(
    given: Settings, folder: Path, launcher: tuple[str, ...] | list[str] = ("-m",)
) -> subprocess.CompletedProcess[str]:
    """Fine-tune in processes of its own."""
    _, _, module, *arguments = command(given, launcher)
    return run_module(module, arguments, folder, checkout_environment(), timeout=240)


def lines(path: Path) -> Lines:
    """Return the lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
