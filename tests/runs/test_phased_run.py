"""A run of three phases: its rows and lines, kill -9 in each phase and between two, and what a resume refuses."""

import logging
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch._dynamo.utils import counters

from bert_lightning import pretrain as pretrain_module
from bert_lightning.inspect_stream import inspect
from bert_lightning.metrics.metrics_log import read_columns
from tests.support.checkout import torchrun
from tests.support.runs import assert_close, compose_here, repeatable, run_apart, run_here
from tests.support.settings import NO_DROPOUT, Settings

PHASES = (
    "[{seq_len:24,global_batch_size:48,micro_batch_size:12,mask_prob:0.3,share:0.5},"
    "{seq_len:32,global_batch_size:16,micro_batch_size:8,steps:4},{}]"
)
ENDS = [7, 11, 14]


@pytest.fixture
def phased(base: Settings) -> Settings:
    """Settings of 14 steps in phases of 7, 4 and 3, with a checkpoint and a digest of every step."""
    every = {"callbacks": "audit", "callbacks.checkpoint.every_n_steps": 1, "callbacks.checkpoint.keep_last": None}
    return base | every | {"phases": PHASES, "model.hidden_dropout_prob": 0.3}


def digests_of(run_dir: Path) -> list[str]:
    return (run_dir / "digests.txt").read_text().splitlines()


def digests_inspected(settings: Settings, folder: Path, first: int = 0, steps: int = 14) -> list[str]:
    keys = ("data.path", "data.cache", "data.seq", "data.glob", "data.micro", "phases", "trainer.max_steps")
    stream = {name: value for name, value in settings.items() if name.startswith(keys)}
    written = folder / "inspected.txt"
    more = {"first_step": first, "num_batches": steps, "digests": written, "data.num_workers": 2}
    inspect(compose_here("inspect", stream | more))
    return written.read_text().splitlines()


def test_rows_lines_and_checkpoints_know_the_phases(
    phased: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bert_lightning"):
        run_here(phased | {"run_name": "a"})
    run_dir = tmp_path / "runs" / "a"
    columns = read_columns(run_dir / "metrics.csv")
    steps = [3, 6, 7, 9, 11, 12, 14]  # every third step, and the end of each phase
    assert columns["train/loss"][0] == steps
    assert columns["progress/phase"] == (steps, [1, 1, 1, 2, 2, 3, 3])
    samples = [144, 288, 336, 368, 400, 432, 496]
    assert columns["progress/samples"][1] == samples
    seconds = columns["throughput/step_seconds"][1]
    made = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    read = [after - before for before, after in zip([0, *samples], samples, strict=False)]
    assert columns["throughput/samples_per_second"][1] == pytest.approx(
        [number / (each * count) for number, each, count in zip(read, seconds, made, strict=True)]
    )
    assert columns["progress/epoch"][1] == sorted(columns["progress/epoch"][1])
    assert columns["val/loss"][0] == [5, 10, 14]
    lines = [record.getMessage() for record in caplog.records]
    assert any("14 steps in 3 phases, from the start" in line for line in lines)
    assert [line for line in lines if line.startswith("phase ")] == [
        "phase 1/3, steps 1 to 7: 48 examples of at most 24 tokens a step, 0.3 of the tokens predicted",
        "phase 2/3, steps 8 to 11: 16 examples of at most 32 tokens a step, 0.15 of the tokens predicted",
        "phase 3/3, steps 12 to 14: 32 examples of at most 48 tokens a step, 0.15 of the tokens predicted",
    ]
    checkpoint = torch.load(run_dir / "checkpoints" / "step-0000009.ckpt", weights_only=True)["bert_lightning"]
    assert checkpoint["stream"]["consumed_samples"] == 368
    assert [phase["steps"] for phase in checkpoint["config"]["phases"]] == [7, 4, 3]
    assert checkpoint["config"]["data"]["seq_len"] == 48
    assert digests_of(run_dir) == digests_inspected(phased, tmp_path)
    assert digests_of(run_dir)[6:9] == digests_inspected(phased, tmp_path, 6, 3)


def test_the_held_out_examples_have_the_length_of_the_last_phase(base: Settings, tmp_path: Path) -> None:
    """A learning rate of 0 keeps the weights, so the held-out losses are those of a run of that length."""
    still = base | {"optimizer.lr": 0.0, "trainer.val_check_interval": 7}
    run_here(still | {"run_name": "phased", "phases": PHASES})
    run_here(still | {"run_name": "plain"})
    phased, plain = (read_columns(tmp_path / "runs" / name / "metrics.csv") for name in ("phased", "plain"))
    assert phased["val/loss"] == plain["val/loss"]
    assert plain["val/loss"][0] == [7, 14]


@pytest.mark.parametrize("made", [7, *(pytest.param(made, marks=pytest.mark.slow) for made in (3, 9, 11))])
def test_a_killed_run_continues_to_the_last_digit(phased: Settings, tmp_path: Path, made: int) -> None:
    """Kill -9 inside a phase, and between two of them when the first batch of the next is read; then other workers."""
    run_here(phased | {"run_name": "whole"})
    kill = {"+callbacks.kill._target_": "tests.support.training.KillBefore", "+callbacks.kill.made": made}
    killed = phased | {"run_name": "killed", "resume": "auto"}
    assert run_apart(killed | kill | {"data.num_workers": 2}, tmp_path).returncode == -signal.SIGKILL
    run_dir, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert digests_of(run_dir) == digests_of(whole)[:made]
    run_here(killed | {"data.num_workers": 1})
    assert digests_of(run_dir) == digests_of(whole)
    assert repeatable(run_dir) == repeatable(whole)
    last = "checkpoints/step-0000014.ckpt"
    ends = [torch.load(folder / last, weights_only=True)["state_dict"] for folder in (run_dir, whole)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "strategy"),
    [(3, "ddp"), (7, "ddp"), (9, "ddp"), (11, "fsdp")],
)
def test_two_processes_continue_what_one_began_when_it_was_killed(
    phased: Settings, tmp_path: Path, made: int, strategy: str
) -> None:
    """And two that were killed are continued by one."""
    settings = phased | NO_DROPOUT
    run_here(settings | {"run_name": "whole"})
    kill = {"+callbacks.kill._target_": "tests.support.training.KillBefore", "+callbacks.kill.made": made}
    two, one = {"strategy": strategy, "data.num_workers": 1}, {"data.num_workers": 2}
    for name, first, second in (("grows", one, two), ("shrinks", two, one)):
        killed = settings | {"run_name": name, "resume": "auto"}
        done = run_apart(killed | kill | first, tmp_path, torchrun(2 if first is two else 1))
        assert done.returncode != 0
        assert len(digests_of(tmp_path / "runs" / name)) == made
        done = run_apart(killed | second, tmp_path, torchrun(2 if second is two else 1))
        assert done.returncode == 0, done.stderr
        assert digests_of(tmp_path / "runs" / name) == digests_of(tmp_path / "runs" / "whole")
        assert_close(tmp_path / "runs" / name, tmp_path / "runs" / "whole")


def test_past_phases_are_refused_and_later_ones_change(
    phased: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_here(phased | {"run_name": "a"})
    checkpoint = tmp_path / "runs" / "a" / "checkpoints" / "step-0000009.ckpt"
    resumed = phased | {"run_name": "b", "resume": checkpoint}
    for old, new, said in (
        ("mask_prob:0.3", "mask_prob:0.2", r"phases\[0\]\.masking was .* 0\.3,.* and is .* 0\.2,"),
        ("share:0.5", "steps:6", r"phases\[0\]\.steps was 7 and is 6"),
        ("seq_len:32", "seq_len:40", "seq_len was 32 and is 40"),
        ("steps:4", "steps:1", r"phases\[1\] has 1 step of 16 examples, but the checkpoint has read 32"),
    ):
        with pytest.raises(ValueError, match=said):
            run_here(resumed | {"phases": PHASES.replace(old, new)})
    with pytest.raises(ValueError, match=r"phases\[0\]\.steps was 7 and is None"):
        run_here(resumed | {"phases": None, "data.seq_len": 32})
    assert not (tmp_path / "runs" / "b").exists()
    with caplog.at_level(logging.INFO, "bert_lightning"):
        run_here(resumed | {"phases": PHASES.replace("{}", "{mask_prob:0.4,micro_batch_size:16}")})
    lines = [record.getMessage() for record in caplog.records]
    assert "phases[2].mask_prob was not set, is 0.4" in lines
    assert "phases[2].micro_batch_size was 8, is 16" in lines
    assert [line.split(",")[0] for line in lines if line.startswith("phase ")][-2:] == ["phase 2/3", "phase 3/3"]


def test_a_run_without_phases_goes_on_with_some(base: Settings, tmp_path: Path) -> None:
    """The steps it has made are the first phase."""
    run_here(base | {"run_name": "a", "schedule": "constant", "trainer.max_steps": 10})
    phases = "[{steps:10},{seq_len:56,global_batch_size:16}]"
    longer = base | {"schedule": "constant", "trainer.max_steps": 14, "phases": phases}
    run_here(longer | {"run_name": "a", "resume": "auto"})
    run_here(longer | {"run_name": "b"})
    found, expected = (read_columns(tmp_path / "runs" / name / "metrics.csv")["train/loss"] for name in "ab")
    rows = [dict(zip(*columns, strict=True)) for columns in (found, expected)]
    assert [rows[0][step] for step in (12, 14)] == [rows[1][step] for step in (12, 14)]


class GraphCounts(L.Callback):
    """Note the number of graphs after every step."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def on_train_batch_end(self, *args: Any) -> None:
        self.counts.append(counters["stats"]["unique_graphs"])


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_phase_shares_the_graphs_of_the_one_before(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sequence length and batch size are other sizes of the same graphs, and the losses are the same."""
    counts: list[int] = []
    plain = pretrain_module.build_trainer

    def build_trainer(*args: Any) -> L.Trainer:
        trainer = plain(*args)
        trainer.callbacks.append(GraphCounts(counts))
        return trainer

    settings = base | {"phases": PHASES}
    run_here(settings | {"run_name": "eager"})
    monkeypatch.setattr(pretrain_module, "build_trainer", build_trainer)
    traced = {"compile.scope": "layers", "compile.on_cpu": True, "compile.backend": "aot_eager"}
    run_here(settings | traced | {"run_name": "compiled"})
    assert counts == [5] * 14  # embeddings, layers, the last layer, two heads
    assert_close(tmp_path / "runs" / "compiled", tmp_path / "runs" / "eager", 1e-4)
