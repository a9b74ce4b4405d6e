"""kill -9 of a run of two processes, continued by one and by four: the batches of the stream, none lost, none twice."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bert_lightning.inspect_stream import inspect
from tests.support.checkout import checkout_environment, torchrun
from tests.support.runs import command, compose_here, run_apart
from tests.support.settings import Settings

NUM_STEPS = 30
DIGESTS = "digests.txt"


def launched(settings: Settings, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(
            command(settings | {"strategy": "ddp"}, torchrun(2)),
            cwd=folder,
            env=checkout_environment(),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_killed_run_continues_with_any_number_of_processes(base: Settings, tmp_path: Path) -> None:
    settings = base | {
        "trainer.max_steps": NUM_STEPS,
        "trainer.val_check_interval": NUM_STEPS,
        "callbacks": "audit",
        "callbacks.checkpoint.every_n_steps": 3,
        "run_name": "killed",
        "resume": "auto",
    }
    stream = {
        name: value for name, value in settings.items() if name.startswith(("data.path", "data.seq", "data.glob"))
    }
    written = tmp_path / "expected.txt"
    inspect(compose_here("inspect", stream | {"num_batches": NUM_STEPS, "data.num_workers": 3, "digests": written}))
    expected = lines_of(written)
    moment = random.Random(time.time()).randint(4, NUM_STEPS - 5)
    log = tmp_path / "runs" / "killed" / DIGESTS
    process = launched(settings, tmp_path)
    deadline = time.monotonic() + 120
    while len(lines_of(log)) < moment and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed_at = len(lines_of(log))
    assert moment <= killed_at < NUM_STEPS, (tmp_path / "out.txt").read_text()[-3000:]
    for processes in (1, 4):
        copy = tmp_path / f"by-{processes}"
        shutil.copytree(tmp_path / "runs", copy)
        strategy = {"strategy": "ddp" if processes > 1 else "single", "output_dir": copy}
        done = run_apart(settings | strategy, tmp_path, torchrun(processes))
        assert done.returncode == 0, done.stderr[-3000:]
        assert lines_of(copy / "killed" / DIGESTS) == expected, f"killed after step {killed_at}, by {processes}"
