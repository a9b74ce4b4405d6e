"""The GPU session: what fits is measured, what is known is passed over, a stop loses only the step under way."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_session import records
from gpu_session.checks import distance
from gpu_session.records import add, measured, pack, sources_digest, write
from gpu_session.session import RESERVE, Session
from gpu_session.steps import Step, chosen, queue, tiny
from gpu_session.table import as_markdown
from gpu_session.worker import StepFailed, Worker
from gpu_session.works import WORKS, composed

from tests.support.checkout import ROOT

SCRIPT = ROOT / "docs" / "benchmarks" / "gpu_session.sh"
MACHINE = {"gpus": ["Card 9"], "processor": "", "versions": {"torch": "2.11.0"}, "commit": "abc"}
STEPS = [Step(name, "?", "benchmark", (f"seed={name}",), 100, 150) for name in ("one", "two", "three")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeWorker:
    """Takes the seconds it is told for each step, and does what is planned for it."""

    def __init__(self, clock: Clock, seconds: dict[str, float], failing: dict[str, BaseException]) -> None:
        self.clock, self.seconds, self.failing = clock, seconds, failing
        self.asked: list[tuple[str, float]] = []
        self.is_stopped = False

    def facts(self, seconds: float) -> dict[str, Any]:
        self.clock.now += 20
        return MACHINE

    def measure(self, step: Step, seconds: float) -> dict[str, Any]:
        assert not self.is_stopped
        self.asked.append((step.name, seconds))
        taken = self.seconds.get(step.name, step.expected)
        self.clock.now += min(taken, seconds)
        if step.name in self.failing:
            raise self.failing[step.name]
        if taken > seconds:
            raise StepFailed(f"stopped after {seconds:.0f} s")
        return {"line": f"{step.name} is done", "command": "..."}

    def stop(self) -> None:
        self.is_stopped = True


class Desk:
    """A session in a folder, with all it needs; `run` goes through a queue and returns what was measured."""

    def __init__(self, folder: Path) -> None:
        self.results, self.out, self.log = folder / "results", folder / "out", folder / "log.txt"
        self.docs = folder / "docs"
        self.results.mkdir()
        self.said: list[str] = []
        self.workers: list[FakeWorker] = []
        self.clock = Clock()

    def session(self, seconds: float, steps: list[Step], **options: Any) -> Session:
        taken, failing = options.pop("taken", {}), options.pop("failing", {})

        def start() -> FakeWorker:
            self.workers.append(FakeWorker(self.clock, taken, failing))
            return self.workers[-1]

        self.workers.clear()
        self.said.clear()
        places = {"results": self.results, "out": self.out, "log": self.log, "committed": [self.docs]}
        options = {"sources": "f00", "clock": self.clock, "say": self.said.append, **options}
        return Session(steps=steps, deadline=self.clock.now + seconds, start=start, **places, **options)

    def run(self, seconds: float = 10_000, steps: list[Step] = STEPS, **options: Any) -> list[str]:
        self.session(seconds, steps, **options).run()
        return self.asked()

    def asked(self) -> list[str]:
        return [name for worker in self.workers for name, _ in worker.asked]

    def archived(self) -> set[str]:
        with tarfile.open(self.out / "results.tar.gz") as archive:
            return {Path(name).name for name in archive.getnames()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("shrink", [lambda step: step, tiny], ids=["real", "tiny"])
def test_every_setting_of_the_queue_is_known(shrink: Callable[[Step], Step]) -> None:
    steps = [shrink(step) for step in queue()]
    assert len({step.name for step in steps}) == len(steps)
    device = "cpu" if shrink is tiny else "gpu"
    for step in steps:
        assert re.fullmatch(r"[a-z0-9-]+", step.name)
        assert 0 < step.expected < step.limit
        assert step.work in WORKS
        if step.work == "pretrain":
            assert composed("pretrain", step.settings).trainer.accelerator == device
        elif step.work != "tests":
            cfg = composed("benchmark", step.settings)
            assert cfg.accelerator == device
            assert cfg.part.setting.name in ("bert_base", "bert_large", "bert_tiny", "bert_mini")


def test_the_first_steps_fit_the_shortest_session_and_are_the_ones_that_tell_most() -> None:
    steps = queue()
    assert [step.name for step in steps[:3]] == ["parity", "base-512", "base-128"]
    assert sum(step.expected for step in steps[:5]) < 240


def test_the_step_of_large_eager_fits_80_gb() -> None:
    """HF large eager needs about 101 GB at 128 examples of 512."""
    (step,) = (step for step in queue() if step.name == "large-512-eager")
    assert "data.micro_batch_size=64" in step.settings


def test_a_step_that_no_longer_fits_is_left_out_and_a_shorter_one_is_not(desk: Desk) -> None:
    steps = [STEPS[0], STEPS[1], replace(STEPS[2], expected=30, limit=60)]
    assert desk.run(seconds=20 + 100 + 99 + RESERVE, steps=steps) == ["one", "three"]
    assert "no time left for 1 of 3: two" in desk.said


def test_no_step_gets_more_time_than_is_left(desk: Desk) -> None:
    seconds = 20 + 100 + 120 + RESERVE
    assert desk.run(seconds=seconds, taken={"two": 10_000.0}) == ["one", "two"]
    assert desk.workers[0].asked == [("one", 150), ("two", 120)]
    assert desk.clock.now <= seconds
    assert json.loads((desk.results / "two.json").read_text())["error"] == ["stopped after 120 s"]


def test_a_time_too_short_starts_nothing(desk: Desk) -> None:
    assert desk.run(seconds=50) == []
    assert desk.workers == []
    assert desk.said == ["nothing measured: 42 s are too short for any step", "no figures\n\n\n"]


def test_what_is_known_for_this_card_torch_and_code_is_passed_over(desk: Desk) -> None:
    desk.run()
    assert desk.run() == []
    (desk.docs).mkdir()
    for path in desk.results.glob("*.json"):
        path.rename(desk.docs / path.name)  # as committed
    assert desk.run() == []
    assert f"one: known from {desk.docs / 'one.json'}" in desk.said
    assert desk.run(sources="other", steps=STEPS[:2]) == ["one", "two"]


def test_chosen_steps_come_in_their_order() -> None:
    assert [step.name for step in chosen(["large-512", "parity"])] == ["large-512", "parity"]
    assert chosen([]) == queue()
    with pytest.raises(ValueError, match="there is no step base-1024; there are parity, "):
        chosen(["parity", "base-1024"])


def test_the_table_shows_only_this_code(desk: Desk) -> None:
    desk.run()
    desk.run(sources="other", steps=STEPS[:1])
    assert "one: one is done" in desk.said[-1]
    assert "two" not in desk.said[-1]


@pytest.mark.parametrize("changed", [{"card": "Card 8"}, {"torch": "2.12.0"}, {"settings": ["seed=1"]}, {"ok": False}])
def test_what_is_known_of_something_else_is_measured(desk: Desk, changed: dict[str, Any]) -> None:
    desk.run()
    path = desk.results / "two.json"
    write(path, json.loads(path.read_text()) | changed)
    assert desk.run() == ["two"]


@pytest.mark.parametrize(("repeat", "expected"), [(["two"], ["two"]), (["all"], ["one", "two", "three"])])
def test_known_steps_are_repeated_if_asked_for(desk: Desk, repeat: list[str], expected: list[str]) -> None:
    desk.run()
    assert desk.run(repeat=repeat) == expected


def test_a_failure_costs_its_process_and_nothing_else(desk: Desk) -> None:
    lines = ["in forward", "CUDA error: an illegal memory access"]
    assert desk.run(failing={"one": StepFailed(*lines)}) == ["one", "two", "three"]
    assert [len(worker.asked) for worker in desk.workers] == [1, 2]
    assert all(worker.is_stopped for worker in desk.workers)
    assert desk.archived() == {"one.json", "two.json", "three.json"}
    for line in lines:
        assert f"one FAILED: {line}" in desk.said[-1]
    assert desk.run() == ["one"]


def test_being_stopped_loses_only_the_step_under_way(desk: Desk) -> None:
    with pytest.raises(KeyboardInterrupt):
        desk.run(failing={"two": KeyboardInterrupt()})
    assert desk.workers[0].is_stopped
    assert desk.archived() == {"one.json"}
    assert "one: one is done" in (desk.out / "table.md").read_text()
    assert "one: one is done" in desk.said[-1]
    assert desk.run() == ["two", "three"]


def test_all_is_packed_before_the_next_step_begins(desk: Desk) -> None:
    seen = []
    real = FakeWorker.measure

    def measure(worker: FakeWorker, step: Step, seconds: float) -> dict[str, Any]:
        seen.append(desk.archived() if (desk.out / "results.tar.gz").exists() else set())
        return real(worker, step, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeWorker, "measure", measure)
        desk.run()
    assert seen == [set(), {"one.json"}, {"one.json", "two.json"}]


def test_what_travels_back_stays_within_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_BYTES", 1000)
    results, out, log = tmp_path / "results", tmp_path / "out", tmp_path / "log.txt"
    log.write_bytes(b"x" * (records.LOG_BYTES + 10))
    for number in range(12):
        write(results / f"step-{number}.json", {"step": f"step-{number}"})
        folder = results / f"step-{number}"
        folder.mkdir()
        (folder / "summary.md").write_text("a page")
        (folder / "trace.json.gz").write_bytes(os.urandom(2000 if number == 0 else 10))
    pack(results, "today-card", log, "the table\n", out)
    files = list(out.rglob("*"))
    assert len(files) <= records.MOST_FILES
    assert all(file.is_file() for file in files)
    traces = {file.name for file in files if file.name.startswith("trace-")}
    assert traces
    assert "trace-step-0.json.gz" not in traces
    assert (out / "log.txt").stat().st_size == records.LOG_BYTES
    with tarfile.open(out / "results.tar.gz") as archive:
        names = archive.getnames()
    assert len(names) == 24
    assert {"today-card/step-3.json", "today-card/step-3/summary.md"} <= set(names)
    assert not add(log, out / "kernels.tar.gz")


def test_the_table_is_short_enough_whatever_has_failed() -> None:
    error = ["x" * 5000] * 3
    failed = [(f"step-{i}", {"step": "", "ok": False, "error": error, "line": "", "date": ""}) for i in range(100)]
    machine = {"machine": MACHINE, "commit": "abc"}
    table = as_markdown([(name, record | machine) for name, record in failed])
    assert 10_000 < len(table) < 12_000
    assert re.search(r"\.\.\. and \d+ lines more, in the results\n$", table)


def test_the_table_shows_committed_figures_of_bert_benchmark() -> None:
    path = ROOT / "docs" / "benchmarks" / "cpu-2026-11-21" / "base512.json"
    table = as_markdown([(path.stem, json.loads(path.read_text()))])
    _, _, head, _, *rows = table.strip().splitlines()
    assert [row.split(" | ")[1] for row in rows] == ["ours", "transformers, eager", "transformers, compiled"]
    cells = dict(zip(head.split(" | "), rows[0].split(" | "), strict=True))
    tokens = float(cells["real tokens/s"].replace(",", ""))
    assert float(cells["hours an epoch"].replace(",", "")) == pytest.approx(3.3e9 * 1.33 / tokens / 3600, rel=1e-3)


def test_the_digest_of_sources_sees_code_and_settings_and_no_prose(tmp_path: Path) -> None:
    def digest(code: str, setting: str = "a: 1") -> str:
        for name, text in {"bert_lightning/a.py": code, "conf/a.yaml": setting}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return sources_digest(tmp_path)

    first = digest('"""A module."""\ndef f(x):\n    """Return x."""\n    return x\n')
    assert digest('def f(x):  # why\n    """Give x back."""\n    return (x)\n') == first
    assert digest("def f(x):\n    return -x\n") != first
    assert digest("def f(x):\n    return x\n", "a: 2") != first


def test_other_json_files_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"tables": {}}')
    (tmp_path / "list.json").write_text("[]")
    assert measured([tmp_path], {}) == {}


def test_the_distance_of_gradients_is_relative_over_all_tensors() -> None:
    expected = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    assert distance(expected, expected) == 0
    assert distance({"a": torch.tensor([3.0]), "b": torch.tensor([4.5])}, expected) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no parameter in common"):
        distance({}, expected)


def test_the_process_answers_fails_and_is_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    worker = Worker(log, tmp_path / "results", tmp_path)
    try:
        assert worker.facts(120)["versions"]["torch"] == importlib.metadata.version("torch")
        wrong = Step("wrong", "?", "benchmark", ("model=bert_none",), 1, 60)
        with pytest.raises(StepFailed, match="bert_none"):
            worker.measure(wrong, 60)
        slow = replace(tiny(queue()[1]), name="slow")
        with pytest.raises(StepFailed, match="stopped after 0 s"):
            worker.measure(slow, 0.01)
        worker._process.kill()
        worker._process.join()
        with pytest.raises(StepFailed, match="the process died"):
            worker.measure(slow, 60)
    finally:
        worker.stop()
    assert not worker._process.is_alive()
    assert "== wrong: benchmark model=bert_none" in log.read_text()


def test_wheels_have_exact_versions() -> None:
    lines = (SCRIPT.parent / "gpu_session" / "wheels.txt").read_text().splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert {"hydra-core", "omegaconf", "webdataset", "torchao"} <= {line.partition("==")[0] for line in named}
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in named)


def start_script(folder: Path, seconds: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHON": sys.executable, "TMPDIR": str(folder), "DRY": "1"}
    command = ["bash", str(SCRIPT), str(seconds), str(folder / "out")]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_script_with_too_little_time_says_so(tmp_path: Path) -> None:
    said, _ = start_script(tmp_path, 12).communicate(timeout=100)
    assert "too short for any step" in said


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the dry run is for machines without a GPU")
def test_the_script_goes_through_all_of_it_killed_in_the_middle(tmp_path: Path) -> None:
    first = start_script(tmp_path, 600)
    assert first.stdout is not None
    lines = [first.stdout.readline() for _ in range(2)]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with tarfile.open(tmp_path / "out" / "results.tar.gz") as archive:
        assert {Path(name).name for name in archive.getnames()} == {"parity.json", "base-512.json"}, lines
    time.sleep(1)
    second = start_script(tmp_path, 1500)
    said, _ = second.communicate(timeout=1500)
    assert second.returncode == 0, said
    assert said.count(": known from ") == 2
    assert "| run | who |" in said
    with tarfile.open(tmp_path / "out" / "results.tar.gz") as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert {f"{step.name}.json" for step in queue()} <= names
    assert "summary.md" in names
