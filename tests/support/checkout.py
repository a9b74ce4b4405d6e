"""The checkout, and commands and programs that run its code in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.warm_start import run_module

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Real text beside the checkout; tests that read it are skipped if it is not there."""


def checkout_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process that imports the packages of this checkout from any folder."""
    kept = {
        name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"
    }  # as the user would have it
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])} | variables


def run_command(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the commands as `python -m` in a given folder."""
    return run_module(f"bert_lightning.{module}", arguments, cwd, checkout_environment(COLUMNS="160"))


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that imports the packages of this checkout, with some more environment variables."""
    environment = checkout_environment(**variables)
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)


def outputs_with_threads(program: str, threads: tuple[int, ...]) -> set[str]:
    """Return what a program prints in processes with other numbers of threads and other seeds of Python's hashes."""
    runs = (run_python(program, PYTHONHASHSEED=str(n), RAYON_NUM_THREADS=str(n)) for n in threads)
    outputs = set()
    for done in runs:
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    return outputs


def torchrun(processes: int, *options: str) -> list[str]:
    """Return the arguments of Python that start the module named after them on all ranks of one node."""
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *options, "-m"]
