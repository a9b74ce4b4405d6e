"""The files that launch a run elsewhere: they parse, lint, and name only what exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.checkout import ROOT
from tests.support.configs import compose_config

DOCKER = ROOT / "docker"
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_the_dockerfile_lints() -> None:
    done = subprocess.run([str(HADOLINT), str(DOCKER / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_gets_what_the_package_is_built_of() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "README.md", "LICENSE", "conf", "data_pipeline", "bert_lightning"} <= copied
    kept = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert kept == copied


def test_the_dependencies_are_those_of_the_project() -> None:
    asked = [sys.executable, "docker/requirements.py", "prepare,sweep"]
    lines = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    names = {re.split(r"[<>=\[]", line)[0] for line in lines}
    assert {"torch", "lightning", "datatrove", "submitit"} <= names
    assert "pytest" not in names


def settings_of(words: list[str]) -> list[str]:
    return [word for word in words if re.match(r"[a-z_.]+=", word)]


def composes(command: str, words: list[str]) -> None:
    """Hydra takes the settings as they stand."""
    compose_config(command.removeprefix("bert-").replace("-", "_"), settings_of(words))


def test_compose_runs_commands_that_exist() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"prepare", "train", "train-cpu"}
    for service in services.values():
        composes(service["entrypoint"][0], service["entrypoint"] + service["command"])


def test_the_pods_of_the_job_are_alike_and_run_the_command() -> None:
    job = yaml.safe_load((DOCKER / "pytorchjob.yaml").read_text())
    replicas: dict[str, Any] = job["spec"]["pytorchReplicaSpecs"]
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    pod = replicas["Master"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    composes("bert-pretrain", container["args"])
    size, micro = (
        int(re.search(rf"{key}=(\d+)", " ".join(container["args"]))[1])
        for key in ("global_batch_size", "micro_batch_size")
    )  # type: ignore[index]
    assert size % (micro * 8 * (1 + replicas["Worker"]["replicas"])) == 0


def test_the_batch_script_is_valid_shell_and_saves_before_its_time_is_up() -> None:
    script = DOCKER / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    text = script.read_text()
    assert re.search(r"^#SBATCH --signal=USR1@\d+$", text, re.M)
    assert re.search(r"^#SBATCH --requeue$", text, re.M)
    composes("bert-pretrain", text.splitlines()[-1].split())


def test_every_line_of_the_guide_composes() -> None:
    guide = (ROOT / "docs" / "launching.md").read_text().replace("\\\n", "")
    lines = [line.split() for line in guide.splitlines() if line.startswith("    ") and "bert-pretrain" in line]
    assert len(lines) > 5
    for words in lines:
        swept = [word.strip("'") for word in words if not word.startswith("hydra")]
        composes("bert-pretrain", [re.sub(r",.*", "", word) for word in swept])
