"""Ranks that are killed or stopped: the run ends soon, names the rank, and goes on with no batch lost or repeated."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.checkout import checkout_environment, torchrun
from tests.support.processes import children, wait_until
from tests.support.runs import assert_close, command, run_here, steps_made
from tests.support.settings import NO_DROPOUT, WATCH, Settings


@contextmanager
def two_ranks(settings: Settings, folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Two ranks; what they print goes to output.txt."""
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(
            command(settings, torchrun(2, *options)),
            cwd=folder,
            env=checkout_environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1"),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        for pid in [*children(process.pid), process.pid] if process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)


def ranks_of(agent: int) -> dict[int, int]:
    """Processes by rank."""
    found = {}
    for pid in children(agent):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {int(text[5:]): pid for text in variables if text.startswith(b"RANK=")}
    return found


@pytest.mark.parametrize(
    ("number", "rank"),
    [
        (signal.SIGKILL, 1),
        (signal.SIGSTOP, 1),
        pytest.param(signal.SIGKILL, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 0, marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_dies_or_hangs_ends_the_run_and_is_named(
    base: Settings,
    tmp_path: Path,
    number: signal.Signals,
    rank: int,
) -> None:
    settings = base | WATCH | {"strategy": "ddp", "run_name": "a", "trainer.max_steps": 100_000}
    run_dir = tmp_path / "runs" / "a"
    with two_ranks(settings, tmp_path) as process:
        wait_until(lambda: steps_made(run_dir) > 5, process)
        ranks = ranks_of(process.pid)
        os.kill(ranks[rank], number)
        wait_until(lambda: process.poll() is not None, seconds=60)
        assert process.wait() != 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks.values()), seconds=20)
    output = (tmp_path / "output.txt").read_text()
    assert "the run cannot go on" in output
    assert f": rank {rank} (host" in output
    assert f"process {ranks[rank]}" in output


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "kills"), [("ddp", 20), ("fsdp", 20)])
def test_kills_at_random_moments_lose_and_repeat_nothing(
    base: Settings,
    tmp_path: Path,
    strategy: str,
    kills: int,
) -> None:
    """Every second one while a checkpoint is written; torchrun starts the ranks again, and resume=auto goes on.

    The watchdog is patient: on a busy machine a save may take seconds, and one that it ends uses up a restart.
    """
    length = {"trainer.max_steps": 40 + 20 * kills, "schedule": "constant"}
    settings = base | NO_DROPOUT | WATCH | length | {"callbacks.watchdog.silent_seconds": 60}
    runs = tmp_path / "runs"
    dice = random.Random(kills)
    own = settings | {"strategy": strategy, "run_name": "killed", "resume": "auto"}
    moments = []
    with two_ranks(own, tmp_path, f"--max-restarts={kills}", "--monitor-interval=0.1") as process:
        for number in range(kills):
            before = steps_made(runs / "killed")
            wait_until(lambda before=before: steps_made(runs / "killed") not in (before, 0), process)
            time.sleep(dice.uniform(0, 0.5))
            if number % 2:
                partial = f".step-*.ckpt.partial{'/*' if strategy == 'fsdp' else ''}"
                wait_until(lambda: any((runs / "killed" / "checkpoints").glob(partial)), process, poll=0)  # noqa: B023
            os.kill(ranks_of(process.pid)[dice.randrange(2)], signal.SIGKILL)
            moments.append(steps_made(runs / "killed"))
            killed_at = len((tmp_path / "output.txt").read_text())
            wait_until(lambda at=killed_at: len((tmp_path / "output.txt").read_text()) > at, process)
        assert process.wait(300) == 0, (tmp_path / "output.txt").read_text()[-3000:]
    assert len(moments) == kills
    run_here(settings | {"run_name": "whole", "data.micro_batch_size": 32})
    assert (runs / "killed" / "digests.txt").read_text() == (runs / "whole" / "digests.txt").read_text()
    assert_close(runs / "killed", runs / "whole", 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_sigterm_to_torchrun_saves_and_the_next_launch_goes_on(
    base: Settings,
    tmp_path: Path,
    strategy: str,
) -> None:
    """The agent passes the signal on, waits for its ranks and ends with a status of its own."""
    settings = base | NO_DROPOUT | WATCH | {"trainer.max_steps": 60, "schedule": "constant"}
    own = settings | {
        "strategy": strategy,
        "run_name": "a",
        "resume": "auto",
        "callbacks.checkpoint.every_n_steps": 1000,
    }
    run_dir = tmp_path / "runs" / "a"
    with two_ranks(own, tmp_path) as process:
        wait_until(lambda: steps_made(run_dir) > 5, process)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, seconds=60)
    (saved,) = (run_dir / "checkpoints").glob("step-*.ckpt")
    step = int(saved.stem.removeprefix("step-"))
    assert 5 < step < 60
    assert f"told to stop: saved step {step}" in (tmp_path / "output.txt").read_text()
    with two_ranks(own, tmp_path) as process:
        assert process.wait(180) == 0
    assert f"continuing from {saved}" in (tmp_path / "output.txt").read_text()
    run_here(settings | {"run_name": "whole", "data.micro_batch_size": 32})
    assert (run_dir / "digests.txt").read_text() == (tmp_path / "runs" / "whole" / "digests.txt").read_text()
    assert_close(run_dir, tmp_path / "runs" / "whole", 1e-4)
