"""torchrun over two nodes with addresses of their own: the run of one process; a cable pulled out ends it, soon."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runs.namespaces import TwoNodes, can_be_made, two_nodes
from tests.support.checkout import checkout_environment
from tests.support.processes import wait_until
from tests.support.runs import assert_close, command, run_here, steps_made
from tests.support.settings import NO_DROPOUT, WATCH, Settings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_be_made(), reason="needs root, iproute2 and namespaces")]


@pytest.fixture
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as made:
        yield made


class Launch:
    """The line of docs/launching.md on both nodes; what each prints is kept."""

    def __init__(self, nodes: TwoNodes, settings: Settings, folder: Path, attempt: str) -> None:
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
        launcher += [f"--rdzv-endpoint={nodes.names[0]}:29500", f"--rdzv-id={attempt}", "-m"]
        launched = command(settings, launcher)
        self.outputs = [folder / f"{attempt}-{node}.txt" for node in range(2)]
        self.processes = []
        for node, path in enumerate(self.outputs):
            environment = checkout_environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
            with path.open("w") as output:
                files = {"stdout": output, "stderr": subprocess.STDOUT}
                self.processes.append(nodes.start(node, launched, cwd=folder, env=environment, **files))

    def wait_for(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait for something, or for the end."""
        wait_until(true, *self.processes, seconds=seconds, poll=0.05, said=self.said)

    def statuses(self, seconds: float) -> list[int]:
        """The exit statuses; a node that is not done in time is killed and fails the test."""
        self.wait_for(lambda: False, seconds)
        return [process.returncode for process in self.processes]

    def said(self) -> list[str]:
        return [path.read_text() for path in self.outputs]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_cable_pulled_out_ends_the_run_and_loses_nothing(
    base: Settings,
    tmp_path: Path,
    nodes: TwoNodes,
    strategy: str,
) -> None:
    settings = base | NO_DROPOUT | WATCH | {"trainer.max_steps": 60, "schedule": "constant"}
    own = settings | {"strategy": strategy, "run_name": "two", "resume": "auto"}
    run_dir = tmp_path / "runs" / "two"
    cut = Launch(nodes, own, tmp_path, "cut")
    try:
        cut.wait_for(lambda: steps_made(run_dir) >= 20, 120)
        nodes.pull_out()
        begin = time.monotonic()
        assert 0 not in cut.statuses(120), cut.said()
        took = time.monotonic() - begin
    finally:
        cut.end()
    print(f"ended {took:.1f} s after the cut")
    first, second = cut.said()
    assert "the run cannot go on" in first
    assert f"rank 1 (host {nodes.names[1]}" in first
    assert "the run cannot go on" in second
    assert "rank 0" in second
    assert nodes.names[0] in second
    nodes.plug_in()
    whole = Launch(nodes, own, tmp_path, "again")
    try:
        assert whole.statuses(180) == [0, 0], whole.said()
    finally:
        whole.end()
    assert "2 x cpu" in whole.said()[0]
    run_here(settings | {"run_name": "one", "data.micro_batch_size": 32})
    assert (run_dir / "digests.txt").read_text() == (tmp_path / "runs" / "one" / "digests.txt").read_text()
    assert_close(run_dir, tmp_path / "runs" / "one", 1e-4)
