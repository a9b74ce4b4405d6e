"""What a step can be: a benchmark, a whole run, a check, the tests. Each returns what its record holds and one line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import made_up_corpus
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from bert_lightning.benchmark import benchmark, resolved
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.metrics.metrics_log import read_rows
from bert_lightning.pretrain import pretrain
from bert_lightning.settings.conf_files import CONF_DIR
from gpu_session import checks
from gpu_session.no_waiting import NoWaiting
from gpu_session.records import ROOT, Record

MILLION_TOKENS = 4
FROM_METRICS = {
    "real tokens/s": "throughput/tokens_per_second",
    "step ms": "throughput/step_seconds",
    "MFU": "throughput/mfu",
    "share of the time waiting for data": "throughput/data_wait",
    "peak memory GB": "throughput/memory_gb",
}
Work = Callable[[Sequence[str], Path, Path], Record]
"""Measures: settings, a folder for what is kept beside the record, a folder for what is not -> the record's content."""


def composed(command: str, settings: Sequence[str]) -> DictConfig:
    """Return the config that a command would be given."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        cfg = compose(command, list(settings), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def measure(settings: Sequence[str], kept: Path, scratch: Path) -> Record:
    """Run bert-benchmark."""
    found = benchmark(composed("benchmark", settings))
    own, *others = next(iter(found["tables"].values()))
    ratios = {row["than"]: row["median"] for row in list(found["tables"].values())[1]}
    words = [_figures(own)]
    for row in others:
        ratio = ratios.get(row["who"])
        words.append(row["who"] if ratio is None else f"{ratio:.2f} times as fast as {row['who']}")
    return {**found, "command": " ".join(["bert-benchmark", *settings]), "line": "; ".join(words)}


def _figures(row: dict[str, Any]) -> str:
    if row["real tokens/s"] is None:
        return str(row["who"])
    mfu = row["MFU % of the data sheet"] or row["MFU % of the measured peak"]
    memory = row["peak memory GB"]
    return f"{row['real tokens/s']:,.0f} tokens/s, MFU {mfu:.1f}%" + (f", {memory:.1f} GB" if memory else "")


def train(settings: Sequence[str], kept: Path, scratch: Path) -> Record:
    """Run bert-pretrain on a made-up corpus; its metrics, and its profile if it has one, are kept."""
    corpus = scratch / "corpus"
    if not (corpus / "manifest.json").exists():
        shutil.rmtree(corpus, ignore_errors=True)
        made_up_corpus.write(corpus, 1 if "trainer.accelerator=cpu" in settings else MILLION_TOKENS)
    runs = scratch / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    own = [f"data.path={corpus}", f"output_dir={runs}", "run_name=run", "callbacks.checkpoint.every_n_steps=1000000"]
    trainer = pretrain(composed("pretrain", [*settings, *own]))
    kept.mkdir(parents=True, exist_ok=True)
    for file in (runs / "run" / "metrics.csv", *(runs / "run").glob("profile/*")):
        shutil.copyfile(file, kept / file.name)
    row = max(read_rows(kept / "metrics.csv").items())[1]
    figures = {name: float(row[column]) for name, column in FROM_METRICS.items() if column in row}
    if "step ms" in figures:
        figures["step ms"] *= 1000
    line = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
    for watch in (callback for callback in trainer.callbacks if isinstance(callback, NoWaiting)):
        line = f"{watch.num_steps} steps without waiting for the device; {line}"
    return {"command": " ".join(["bert-pretrain", *settings]), "figures": figures, "line": line}


def check(
    rows_of: Callable[[checks.Subject], list[checks.Row]], settings: Sequence[str], kept: Path, scratch: Path
) -> Record:
    """Run checks; the record says which were passed."""
    cfg = resolved(composed("benchmark", settings))
    table = FigureTable("checks", ("check", "found", "at most", "passed"))
    for name, found, limit in rows_of(checks.Subject.of(cfg)):
        table.rows.append((name, found, limit, str(found <= limit)))
    failed = [f"{row[0]}: {row[1]:.3g}, at most {row[2]:.3g}" for row in table.rows if row[3] != "True"]
    line = f"{len(table.rows) - len(failed)} of {len(table.rows)} checks passed" + "".join(
        f"; NOT {one}" for one in failed
    )
    return {"command": " ".join(settings), "tables": {table.title: table.as_records()}, "line": line}


def run_tests(settings: Sequence[str], kept: Path, scratch: Path) -> Record:
    """Run tests that need a GPU; failing ones are an answer."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", *settings]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as done:
        assert done.stdout is not None
        for line in done.stdout:  # into the log at once, so that a stop loses nothing
            print(line, end="", flush=True)
            lines.append(line.strip())
    if done.returncode not in (0, 1):
        raise ValueError(f"pytest ended with {done.returncode}: {' '.join(lines)[-300:]}")
    failed = [line for line in lines if line.startswith("FAILED")]
    last = next(line for line in reversed(lines) if line)
    return {"command": " ".join(["pytest", *command[3:]]), "line": "; ".join([last, *failed])}


WORKS: dict[str, Work] = {
    "benchmark": measure,
    "pretrain": train,
    "parity": partial(check, checks.parity),
    "gradients": partial(check, checks.gradient_equality),
    "tests": run_tests,
}
