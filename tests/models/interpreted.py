"""Programs that run kernels by Triton's interpreter on a CPU."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.checkout import ROOT


def version_of(package: Any) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(map(int, package.__version__.split(".")[:2]))


def run_interpreted(program: str, inputs: Any, folder: Path) -> Any:
    """Return what a program saves, in a process of its own: the interpreter is chosen before kernels are imported.

    Args:
        program: Python source; its arguments are the file of the inputs and that of the results.
        inputs: What torch.load gives the program.
        folder: Folder for the two files.
    """
    triton = pytest.importorskip("triton", reason="the kernels are Triton's")
    if version_of(triton) < (3, 7) and version_of(np) >= (2, 4):
        pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with numpy {np.__version__}")
    torch.save(inputs, folder / "inputs.pt")
    command = [sys.executable, "-c", program, str(folder / "inputs.pt"), str(folder / "results.pt")]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / "results.pt")
