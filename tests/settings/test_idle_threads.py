"""The OpenMP library of a command's process has the spin count; what the user sets stays."""

import ast
import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_lightning.settings import idle_threads
from bert_lightning.settings.idle_threads import GPU_DEVICES, VARIABLES, limit_spinning
from tests.support.checkout import ROOT

DOORS = (
    "benchmark",
    "demo",
    "embed",
    "evaluate",
    "export",
    "fill_mask",
    "inspect_stream",
    "predict",
    "prepare",
    "pretrain",
)


def test_examples() -> None:
    assert doctest.testmod(idle_threads).failed == 0


@pytest.mark.parametrize("name", VARIABLES)
def test_what_the_user_sets_stays(name: str) -> None:
    environment = {name: "passive"}
    limit_spinning(environment, has_gpu=False)
    assert environment == {name: "passive"}


def test_a_machine_with_a_gpu_is_left_alone() -> None:
    environment: dict[str, str] = {}
    limit_spinning(environment, has_gpu=True)
    assert environment == {}


@pytest.mark.parametrize("door", DOORS)
def test_every_command_sets_it_before_anything_else_is_imported(door: str) -> None:
    tree = ast.parse((ROOT / "bert_lightning" / f"{door}.py").read_text())
    first = next(node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "import bert_lightning.settings.idle_threads"


@pytest.mark.skipif(any(Path(device).exists() for device in GPU_DEVICES), reason="has a GPU")
@pytest.mark.parametrize(("chosen", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_the_library_of_a_command_has_it(chosen: dict[str, str], expected: str) -> None:
    """The library says what it has read when it is loaded, which is when a command imports torch."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", "import bert_lightning.settings.idle_threads, torch"],
        env=environment | chosen | {"OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch computes with another OpenMP library here")
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr
