"""The wheel, an editable install and a bare checkout have every command and every config."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.utils import get_object

from bert_lightning.settings.doors import MODULES
from bert_lightning.settings.run_folder import RunFolder
from tests.support.checkout import ROOT, torchrun
from tests.support.settings import Settings, overrides

SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PACKAGES = ("bert_lightning", "data_pipeline")
PLUGINS = "bert_lightning/sweeps/plugins/"
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))


def module_of(script: str) -> str:
    """Return the module whose main function a console script runs."""
    command = script.removeprefix("bert-").replace("-", "_")
    return f"bert_lightning.{MODULES.get(command, command)}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    program = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_every_config_is_in_the_wheel_and_nothing_else_is(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"bert_lightning/conf/{path.relative_to(ROOT / 'conf')}" for path in CONFIGS}
    assert len(configs) > 20
    assert configs <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {*PACKAGES, "hydra_plugins"}


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    """Templates, styles and scripts of the reports too, not only modules."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    kept = {str(path.relative_to(ROOT)).removeprefix(PLUGINS) for path in files if "__pycache__" not in path.parts}
    assert len({Path(name).suffix for name in kept}) > 3
    assert kept <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_console_script_is_the_main_of_a_module(script: str) -> None:
    doors, _, name = SCRIPTS[script].partition(":")
    assert callable(getattr(importlib.import_module(doors), name))
    assert callable(importlib.import_module(module_of(script)).main)


def test_every_target_of_the_configs_exists() -> None:
    lines = [line for path in CONFIGS for line in path.read_text().splitlines()]
    targets = {found[1] for line in lines if (found := re.search(r"_target_: ((?:bert|data|hydra)_\w+\.\S+)", line))}
    assert len(targets) > 30
    for target in targets:
        assert get_object(target) is not None


@dataclass(frozen=True)
class Installation:
    """One way to have the project: the programs of its environment, and the folder in which they run."""

    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str | Path) -> str:
        """Return what a program prints; it does not see the checkout of the tests."""
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [self.programs / program, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["wheel", "editable", "checkout"])
def installation(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Installation:
    """An environment that has the installed packages of this one, and the project in one of three ways."""
    if request.param == "editable":
        pytest.importorskip("editables")
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    site = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    packages = next((environment / "lib").glob("python*/site-packages"))
    for path in site.iterdir():
        if "bert_lightning" not in path.name and not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    asked = {"wheel": [wheel], "editable": ["--editable", ROOT], "checkout": []}[request.param]
    if asked:
        subprocess.run([*install, *asked], check=True, capture_output=True)
    return Installation(environment / "bin", ROOT if request.param == "checkout" else tmp_path)


@pytest.mark.slow
def test_every_command_runs_however_the_project_is_installed(installation: Installation, prepared: Path) -> None:
    for script in SCRIPTS:
        said = "usage: bert-report" if script == "bert-report" else "settings are typed as key=value"
        assert said in installation.run("python", "-m", module_of(script), "--help").lower()
        if (installation.programs / script).exists():
            assert said in installation.run(script, "--help").lower()
    assert (installation.programs / "bert-pretrain").exists() == (installation.folder != ROOT)
    launched = installation.run("python", *torchrun(1), "bert_lightning.pretrain", "--help")
    assert "settings are typed as key=value" in launched.lower()
    arguments = [f"data.path={prepared}", "num_batches=1", "data.seq_len=32", "data.num_workers=0"]
    assert "predicted share" in installation.run("python", "-m", "bert_lightning.inspect_stream", *arguments)
    assert "OptunaSweeper" in installation.run("python", "-m", "bert_lightning.pretrain", "--info", "plugins")


@pytest.mark.slow
def test_a_job_of_submitit_finds_the_plugins_however_the_project_is_installed(
    installation: Installation, base: Settings, tmp_path: Path
) -> None:
    """The job is a process of its own, which reads what to run from a pickle."""
    pytest.importorskip("submitit")
    settings = base | {"hydra/launcher": "submitit_local", "hydra.launcher.timeout_min": 5, "trainer.max_steps": 1}
    settings |= {"callbacks": "audit", "seed": "choice(3)", "run_name": "job"}
    installation.run("python", "-m", "bert_lightning.pretrain", "--multirun", *overrides(settings))
    assert RunFolder(tmp_path / "runs" / "job" / "seed=3").checkpoint(1).exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_oldest_torch_that_is_tested_is_the_oldest_that_is_allowed(tmp_path: Path) -> None:
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (oldest,) = (found[1] for each in allowed if (found := re.match(r"torch>=([\d.]+),", each)))
    command = ["make", "--no-print-directory", "--dry-run", "test-oldest", f"OLDEST_VENV={tmp_path}"]
    plan = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert f"'s/^torch==.*/torch=={oldest}.0/' constraints.txt > {tmp_path}/constraints.txt" in plan
    assert f"--constraint {tmp_path}/constraints.txt --editable '.[dev]'" in plan
    assert plan.splitlines()[-1].startswith(f"{tmp_path}/bin/python -m pytest")
