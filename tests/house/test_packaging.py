"""The wheel carries the configs, and its commands run outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    program = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_every_config_is_in_the_wheel_and_nothing_else_is(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"bert_lightning/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(configs) > 20
    assert configs <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"bert_lightning", "data_pipeline"}


@pytest.mark.slow
def test_the_commands_run_from_a_fresh_environment(wheel: Path, prepared: Path, tmp_path: Path) -> None:
    """The environment sees the installed packages of this one, but the project only as the wheel."""
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    site = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    packages = next((environment / "lib").glob("python*/site-packages"))
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (packages / "others.pth").write_text(f"{site}\n")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in ("bert-prepare", "bert-inspect", "bert-pretrain", "bert-export", "bert-fill-mask"):
        asked = [environment / "bin" / command, "--help"]
        done = subprocess.run(asked, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "powered by hydra" in done.stdout.lower()
    arguments = [f"data.path={prepared}", "num_batches=1", "data.seq_len=32", "data.num_workers=0"]
    done = subprocess.run(
        [environment / "bin" / "bert-inspect", *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "predicted share" in done.stdout
