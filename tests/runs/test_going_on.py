"""bert-pretrain goes on: back to an older checkpoint, with other settings, or not at all because it is finished."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from bert_lightning.checkpoints.checkpoint import latest_checkpoint, read_checkpoint
from bert_lightning.checkpoints.saved_state import PAYLOAD_KEY
from bert_lightning.export import export
from bert_lightning.pretrain import pretrain
from bert_lightning.settings.run_folder import RunFolder, step_of
from tests.support.checkout import checkout_environment, torchrun
from tests.support.processes import children, wait_until
from tests.support.runs import command, compose_here, repeatable, run_apart, run_here, steps_made
from tests.support.settings import NO_DROPOUT, Settings

OFTEN = {"callbacks.checkpoint.every_n_steps": 2, "callbacks.checkpoint.keep_last": None, "schedule": "constant"}


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> None:
    """What the command shows and writes into run.log."""
    caplog.set_level("INFO", "bert_lightning")


def steps(folder: RunFolder) -> list[int]:
    return [step_of(path) for path in folder.saved()]


def changed_lines(folder: RunFolder) -> list[str]:
    """What run.log says of changed settings and of the learning rate, without the time."""
    lines = [line.split(" ", 2)[2] for line in folder.log.read_text().splitlines() if re.match(r"\d{4}-", line)]
    return [line for line in lines if re.search(r" was .*, is ", line)]


def test_everything_follows_the_new_branch(base: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Back from step 14 to step 4, to step 8 only: keep_last, resume=auto and bert-export see no abandoned step."""
    settings = base | OFTEN | NO_DROPOUT | {"run_name": "a", "callbacks": "audit"}
    run_here(settings)
    run = RunFolder(tmp_path / "runs" / "a")
    first, digests = repeatable(run.path), run.digests.read_text()
    back = {"resume": run.checkpoint(4), "optimizer.lr": 1e-4, "trainer.max_steps": 8}
    run_here(settings | back | {"callbacks.checkpoint.keep_last": 1, "trainer.log_every_n_steps": 2})
    assert steps(run) == [8]
    assert latest_checkpoint(run.path) == run.checkpoint(8)
    aside = run.set_aside(1)
    assert steps(aside) == [6, 8, 10, 12, 14]
    assert repeatable(aside.path) == first
    assert aside.digests.read_text() == digests
    assert run.digests.read_text().splitlines() == digests.splitlines()[:8]  # the same examples
    assert list(repeatable(run.path)) == [3, 5, 6, 8]
    assert repeatable(run.path)[3] == first[3]
    assert repeatable(run.path)[6] != first[6]
    assert "is set aside: step-0000006.ckpt, step-0000008.ckpt," in run.log.read_text()
    output = export(OmegaConf.create({"checkpoint": str(run.path), "output_dir": str(tmp_path / "hf")}))
    assert Path(output, "model.safetensors").is_file()
    assert "step-0000014" not in caplog.text.split("are now in")[1]
    assert run_here(settings | back | {"resume": "auto", "trainer.max_steps": 10}).global_step == 10
    run_here(settings | {"run_name": "b", "resume": aside.checkpoint(6), "trainer.max_steps": 10})
    assert steps(RunFolder(tmp_path / "runs" / "b")) == [8, 10]
    assert steps(aside) == [6, 8, 10, 12, 14]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_go_back_too(base: Settings, tmp_path: Path, strategy: str) -> None:
    settings = base | OFTEN | {"run_name": "a", "strategy": strategy, "trainer.devices": 2}
    assert run_apart(settings, tmp_path).returncode == 0
    run = RunFolder(tmp_path / "runs" / "a")
    relative = Path("runs/a/checkpoints/step-0000004.ckpt")
    back = {"resume": relative, "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.5, "trainer.max_steps": 8}
    done = run_apart(settings | back | {"callbacks.checkpoint.keep_last": 1}, tmp_path)
    assert done.returncode == 0, done.stderr
    assert steps(run) == [8]
    assert steps(run.set_aside(1)) == [6, 8, 10, 12, 14]
    assert (done.stdout + done.stderr).count("is set aside") == 1
    (state,) = read_checkpoint(run.checkpoint(8))["optimizer_states"]
    assert [group["weight_decay"] for group in state["param_groups"]] == [0.5, 0.0]
    assert changed_lines(run)[0] == "optimizer.lr was 0.003, is 0.0001"


def has_gone_back(run: RunFolder) -> bool:
    branch = run.branch()
    return branch is not None and branch.complete


@pytest.mark.slow
def test_a_restart_by_torchrun_goes_on_with_the_new_branch(base: Settings, tmp_path: Path) -> None:
    """The command names step 4 each time; the process that is started again must not go back once more."""
    settings = base | OFTEN | {"run_name": "a", "callbacks": "audit"}
    run_here(settings)
    run = RunFolder(tmp_path / "runs" / "a")
    back = settings | {"resume": run.checkpoint(4), "trainer.max_steps": 60, "callbacks.checkpoint.keep_last": 2}
    line = command(back, torchrun(1, "--max-restarts=1", "--monitor-interval=0.1"))
    environment = checkout_environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: has_gone_back(run) and steps_made(run.path) > 12, process, poll=0.01)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert steps(run) == [58, 60]
    assert not run.set_aside(2).path.exists()
    assert run.log.read_text().count("continuing from") == 2


def test_a_requeued_job_goes_on_with_the_new_branch(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = base | OFTEN | {"run_name": "a"}
    run_here(settings)
    run = RunFolder(tmp_path / "runs" / "a")
    back = settings | {"resume": run.checkpoint(4), "trainer.max_steps": 8, "callbacks.checkpoint.keep_last": 1}
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    run_here(back)
    assert steps(run) == [8]  # step 4, which the command names, is gone
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_here(back | {"trainer.max_steps": 10}).global_step == 10
    assert steps(run) == [10]
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    with pytest.raises(ValueError, match=r"step-0000004\.ckpt does not exist"):
        run_here(back)


def test_a_run_that_began_from_another_one_does_not_begin_from_the_start_later(base: Settings, tmp_path: Path) -> None:
    """It is ended before its first checkpoint; resume=auto has nothing else to go on from than what was named."""
    run_here(base | OFTEN | {"run_name": "a"})
    origin = tmp_path / "runs" / "a" / "checkpoints" / "step-0000004.ckpt"
    settings = base | OFTEN | {"run_name": "b"}
    run_here(settings | {"resume": origin, "callbacks.checkpoint.every_n_steps": 100, "trainer.max_steps": 6})
    other = RunFolder(tmp_path / "runs" / "b")
    other.checkpoint(6).unlink()
    run_here(settings | {"resume": "auto", "trainer.max_steps": 8})
    assert other.log.read_text().count(f"continuing from {origin}") == 2


def test_changed_settings_act_and_are_said(base: Settings, tmp_path: Path) -> None:
    settings = base | NO_DROPOUT | {"run_name": "a", "schedule": "linear"}
    run_here(settings)
    changes = {
        "optimizer.weight_decay": 0.5,
        "optimizer.betas": "[0.8,0.9]",
        "optimizer.eps": 1e-3,
        "gradient_clip_val": 0.5,
        "model.initializer_range": 0.5,
        "trainer.max_steps": 28,
    }
    trainer = run_here(settings | changes | {"resume": "auto"})
    run = RunFolder(tmp_path / "runs" / "a")
    assert changed_lines(run) == [
        "model.initializer_range was 0.02, is 0.5 (no effect: the weights are those of the checkpoint)",
        "optimizer.betas was [0.9, 0.999], is [0.8, 0.9]",
        "optimizer.eps was 1e-06, is 0.001",
        "optimizer.weight_decay was 0.01, is 0.5",
        "trainer.max_steps was 14, is 28",
        "gradient_clip_val was 1.0, is 0.5",
        "the learning rate at step 14 was 0.0002308, is 0.001731 with these settings",
    ]
    decay, no_decay = trainer.optimizers[0].param_groups
    assert (decay["weight_decay"], tuple(decay["betas"]), decay["eps"]) == (0.5, (0.8, 0.9), 1e-3)
    assert (no_decay["weight_decay"], tuple(no_decay["betas"]), no_decay["eps"]) == (0.0, (0.8, 0.9), 1e-3)
    saved = torch.load(run.checkpoint(28), weights_only=True)
    assert [group["weight_decay"] for group in saved["optimizer_states"][0]["param_groups"]] == [0.5, 0.0]


def test_how_the_weights_began_is_no_matter_of_a_resume(base: Settings, tmp_path: Path) -> None:
    """Checkpoints have it among the settings alone; one of a version without the setting is gone on from as well."""
    wide = base | {"run_name": "a", "model.hidden_size": 64, "model.intermediate_size": 64}
    run_here(wide | {"model.initialization": "neighbors"})
    run = RunFolder(tmp_path / "runs" / "a")
    content = torch.load(run.checkpoint(14), weights_only=True)[PAYLOAD_KEY]
    assert content["config"]["model"]["initialization"] == "neighbors"
    assert "initialization" not in content["model"]
    assert run_here(wide | {"resume": "auto", "trainer.max_steps": 15}).global_step == 15
    remark = "no effect: the weights are those of the checkpoint"
    assert changed_lines(run)[0] == f"model.initialization was neighbors, is bert ({remark})"
    saved = torch.load(run.checkpoint(15), weights_only=True)
    del saved[PAYLOAD_KEY]["config"]["model"]["initialization"]
    older = tmp_path / "older.ckpt"
    torch.save(saved, older)
    assert run_here(wide | {"resume": older, "run_name": "b", "trainer.max_steps": 16}).global_step == 16


def test_null_leaves_a_callback_out(base: Settings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "a")
    run_here(base | {"run_name": "a", "callbacks.report": "null", "callbacks.guesses": "null", "logger.csv": "null"})
    assert [path.name for path in run.saved()][-1:] == ["step-0000014.ckpt"]
    assert not run.report.exists()
    assert not run.metrics.exists()


def test_nothing_is_said_if_nothing_has_changed(base: Settings, tmp_path: Path) -> None:
    """Also of the learning rate, and with the settings of another folder and name."""
    run_here(base | OFTEN | {"run_name": "a"})
    run_here(base | OFTEN | {"run_name": "b", "resume": tmp_path / "runs" / "a" / "checkpoints" / "step-0000010.ckpt"})
    assert changed_lines(RunFolder(tmp_path / "runs" / "b")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer._target_": "torch.optim.Adam"}, "optimizer._target_ was torch.optim.AdamW, is torch.optim.Adam"),
        ({"+optimizer.amsgrad": True}, "optimizer.amsgrad was not set, is true"),
        ({"model.hidden_size": 16}, "has model.hidden_size=32, the settings say 16"),
        ({"seed": 3}, "seed was 0 and is 3"),
    ],
)
def test_what_cannot_change_is_refused_before_anything_is_moved(
    base: Settings, tmp_path: Path, changes: Settings, said: str
) -> None:
    run_here(base | OFTEN | {"run_name": "a"})
    run = RunFolder(tmp_path / "runs" / "a")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=said) as raised:
        run_here(base | OFTEN | {"run_name": "a", "resume": run.checkpoint(4)} | changes)
    assert len(str(raised.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_finished_run_says_so_and_nothing_else_happens(base: Settings, tmp_path: Path) -> None:
    settings = base | {"run_name": "a"}
    run_here(settings)
    run = RunFolder(tmp_path / "runs" / "a")
    files = [path for path in run.path.rglob("*") if path.is_file() and path != run.log]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    lines = run.log.read_text().splitlines()
    again = settings | {"resume": "auto", "optimizer.weight_decay": 0.5}
    assert pretrain(compose_here("pretrain", again)) is None
    done = run_apart(again | {"strategy": "ddp", "trainer.devices": 2}, tmp_path)
    assert done.returncode == 0, done.stderr
    said = "the run is finished: .*step-0000014.ckpt is at step 14 of trainer.max_steps=14; a larger trainer.max_steps"
    assert len(re.findall(said, done.stdout + done.stderr)) == 1
    first, changed, second, *more = run.log.read_text().splitlines()[len(lines) :]
    assert re.search(said, first)
    assert re.search(said, second)
    assert changed.endswith("optimizer.weight_decay was 0.01, is 0.5: no effect on a finished run")
    assert {line.rpartition(": ")[2] for line in more} == {"no effect on a finished run"}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    assert {path for path in run.path.rglob("*") if path.is_file()} == {*files, run.log}
    run_apart(settings | {"run_name": "b", "resume": run.checkpoint(14)}, tmp_path)
    assert not (tmp_path / "runs" / "b").exists()
