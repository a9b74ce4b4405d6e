"""The script of the GPU session: every command in it is one that the commands take, and it runs to its end."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from bert_lightning.settings.config import CONF_DIR
from tests.support.checkout import ROOT

SCRIPT = ROOT / "docs" / "benchmarks" / "gpu_session.sh"
PIECES = ("tests", "bf16", "fp8", "variants")


def session(piece: str, out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "TMPDIR": str(out.parent)} | variables
    return subprocess.run(
        ["bash", str(SCRIPT), piece, str(out)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.mark.parametrize("piece", PIECES)
def test_every_setting_is_known(piece: str, tmp_path: Path) -> None:
    """With a Python that writes down what it is asked for instead of doing it."""
    stub, asked = tmp_path / "stub", tmp_path / "asked"
    stub.write_text(f'#!/bin/sh\n(printf "%s\\n" "$@"; echo) >>{asked}\necho stub\n')
    stub.chmod(0o755)
    done = session(piece, tmp_path / "out", PYTHON=str(stub))
    assert done.returncode == 0 or piece == "variants", done.stderr  # no profile page can be copied
    composed = 0
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        for command in asked.read_text().split("\n\n"):
            words = command.strip().splitlines()
            if words[:1] == ["-m"] and words[1].startswith("bert_lightning."):
                cfg = compose(words[1].removeprefix("bert_lightning."), words[2:])
                composed += 1
                if "benchmark" in words[1]:
                    assert cfg.output == str(tmp_path / "out" / f"{Path(cfg.output).stem}.json")
                    assert cfg.accelerator == "gpu"
    assert composed == {"tests": 2, "bf16": 4, "fp8": 12, "variants": 8}[piece]


def test_an_unknown_piece_is_refused(tmp_path: Path) -> None:
    done = session("fp16", tmp_path / "out")
    assert done.returncode == 2
    assert "piece=fp16 is none of tests, bf16, fp8, variants" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the dry run is for machines without a GPU")
@pytest.mark.parametrize("piece", PIECES)
def test_it_runs_to_its_end_with_tiny_sizes(piece: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = session(piece, out, DRY="1")
    assert done.returncode == 0, done.stdout + (out / f"{piece}.log").read_text()[-3000:]
    assert "| run | who |" in done.stdout
    with tarfile.open(out / f"{piece}.tar.gz") as archive:
        names = archive.getnames()
    figures = [name for name in names if name.endswith(".json")]
    assert len(figures) == {"tests": 2, "bf16": 4, "fp8": 12, "variants": 5}[piece]
    assert all(json.loads((out / name).read_text())["machine"]["versions"]["torch"] for name in figures)
    assert sum(name.endswith("summary.md") for name in names) == 3 * (piece == "variants")
    assert "commit" in (out / "about.txt").read_text()
