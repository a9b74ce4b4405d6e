"""Alerts come once for each thing that somebody should know, and not for a loss that falls or wavers."""

from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.callbacks.alerts import Alerts
from bert_lightning.training.step_guard import NotFiniteError


class Sink:
    """A logger that keeps alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []

    def alert(self, title: str, text: str, level: str) -> None:
        self.alerts.append((title, text, level))


class Phases:
    """The steps up to 30 are of the first phase."""

    def number_at_step(self, step: int) -> int:
        return int(step > 30)


def run_of(first_step: int = 0, **state: Any) -> tuple[SimpleNamespace, Sink]:
    sink = Sink()
    data = SimpleNamespace(phases=Phases())
    fixed = {"is_global_zero": True, "max_steps": 100, "loggers": [object(), sink], "callbacks": []}
    return SimpleNamespace(global_step=first_step, datamodule=data, **(fixed | state)), sink


def see(alerts: Alerts, trainer: SimpleNamespace, losses: list[float], skipped: list[float] | None = None) -> None:
    for loss, count in zip(losses, skipped or [0.0] * len(losses), strict=True):
        trainer.global_step += 1
        latest = {"train/loss": loss, "train/skipped_steps": count}
        alerts.on_train_batch_end(trainer, SimpleNamespace(latest=latest, is_logging_step=lambda: True))


def test_a_spike_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    trainer, sink = run_of()
    see(Alerts(loss_rise=0.2, num_readings=4), trainer, [5.0, 4.0, 4.0, 3.0, 4.85, 4.9, 4.9, 4.8])
    ((title, text, level),) = sink.alerts
    assert (title, level) == ("Loss spike", "WARN")
    assert text == "train/loss is 4.850 at step 5, and was 4.000 before"
    assert caplog.text.count("Loss spike: train/loss is 4.850") == 1


@pytest.mark.parametrize("losses", [[9.0, 7.0, 5.0, 4.0, 4.1, 4.3, 4.2], [5.0, 9.0], [4.0, 4.0, 4.0, 4.0, 4.79]])
def test_a_loss_that_falls_or_wavers_is_no_spike(losses: list[float]) -> None:
    trainer, sink = run_of()
    see(Alerts(loss_rise=0.2, num_readings=4), trainer, losses)
    assert sink.alerts == []


def test_another_phase_is_not_compared() -> None:
    trainer, sink = run_of(first_step=26)
    see(Alerts(loss_rise=0.2, num_readings=4), trainer, [2.0, 2.0, 2.0, 2.0, 3.0, 3.0])
    assert sink.alerts == []


def test_skipped_steps_are_told_when_their_number_grows(caplog: pytest.LogCaptureFixture) -> None:
    alerts = Alerts()
    trainer, sink = run_of()
    alerts.on_train_start(trainer, None)
    see(alerts, trainer, [2.0] * 4, [1.0, 1.0, 3.0, 3.0])
    assert [text.split(" had")[0] for _, text, _ in sink.alerts] == [
        "1 of the steps up to step 1",
        "2 of the steps up to step 3",
    ]
    assert caplog.text.count("NaN or infinite gradients") == 2
    later, sink = run_of(first_step=4)
    alerts.on_train_start(later, None)
    see(alerts, later, [2.0, 2.0], [3.0, 3.0])
    assert sink.alerts == []


def test_a_run_that_is_stopped_or_ends_by_nan_is_told() -> None:
    trainer, sink = run_of(first_step=7)
    alerts = Alerts()
    alerts.on_train_end(trainer, None)
    alerts.on_exception(trainer, None, RuntimeError("other"))
    assert sink.alerts == []
    trainer.callbacks = [SimpleNamespace(preempted=True)]
    alerts.on_train_end(trainer, None)
    alerts.on_exception(trainer, None, NotFiniteError(3, 7, 5))
    assert [(title, level) for title, _, level in sink.alerts] == [
        ("Run stopped", "INFO"),
        ("Run ended by NaN", "ERROR"),
    ]
    assert "step 7 of 100" in sink.alerts[0][1]
    assert "steps 3 to 7" in sink.alerts[1][1]


def test_a_rise_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"callbacks\.alerts\.loss_rise must be a number above 0, or null; got 0"):
        Alerts(loss_rise=0)
