"""metrics.csv: rows survive a resume, come out as if there had been none, and are never half-written."""

import csv
from pathlib import Path

import pytest

from bert_lightning.metrics import metrics_log
from bert_lightning.metrics.metrics_log import MetricsCsv, has_wandb_account, read_columns, read_rows


def write(path: Path, steps: range, extra: str = "") -> None:
    logger = MetricsCsv(path)
    for step in steps:
        logger.log_metrics({"train/loss": 1 / step}, step)
        logger.log_metrics({"optim/lr": step * 0.1} | ({extra: 1.0} if extra else {}), step)


@pytest.mark.parametrize("killed_after", [5, 9, 12])
def test_an_interrupted_and_resumed_run_has_the_rows_of_a_whole_one(tmp_path: Path, killed_after: int) -> None:
    write(tmp_path / "whole.csv", range(1, 13))
    write(tmp_path / "part.csv", range(1, killed_after + 1))
    write(tmp_path / "part.csv", range(5, 13))  # resumed from the checkpoint of step 4
    assert (tmp_path / "part.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_a_resume_keeps_the_rest_of_the_row_it_begins_with(tmp_path: Path) -> None:
    """The first value after a resume can be of the very step that was saved."""
    write(tmp_path / "m.csv", range(1, 8))
    MetricsCsv(tmp_path / "m.csv").log_metrics({"val/loss": 0.5}, 4)
    rows = read_rows(tmp_path / "m.csv")
    assert sorted(rows) == [1, 2, 3, 4]
    assert rows[4] == {"step": "4", "train/loss": "0.25", "optim/lr": "0.4", "val/loss": "0.5"}


def test_new_columns_may_come_later(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", range(1, 4))
    write(tmp_path / "m.csv", range(4, 6), extra="val/loss")
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["val/loss"] for row in rows] == ["", "", "", "1.0", "1.0"]
    assert read_columns(tmp_path / "m.csv")["val/loss"] == ([4, 5], [1.0, 1.0])


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, float("inf"), 123456789.123456789]
    logger = MetricsCsv(tmp_path / "m.csv")
    for step, value in enumerate(values):
        logger.log_metrics({"x": value}, step)
    assert read_columns(tmp_path / "m.csv")["x"][1] == values


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.csv"
    write(path, range(1, 4))
    before = path.read_text()

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics_log.csv.DictWriter, "writerows", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsCsv(path).log_metrics({"train/loss": 1.0}, 4)
    assert path.read_text() == before


def test_a_value_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step"):
        MetricsCsv(tmp_path / "m.csv").log_metrics({"x": 1.0})


def test_an_account_is_a_key_in_the_environment_or_in_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_wandb_account()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / "netrc").chmod(0o600)
    assert has_wandb_account()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_account()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert has_wandb_account()


def test_a_full_disk_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written comes with the next row; the old file stays whole in between."""
    log = MetricsCsv(tmp_path / "metrics.csv")
    log.log_metrics({"x": 1.0}, 1)

    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        log.log_metrics({"x": 2.0}, 2)
    assert list(read_rows(log.path)) == [1]
    log.log_metrics({"x": 3.0}, 3)
    assert [row["x"] for row in read_rows(log.path).values()] == ["1.0", "2.0", "3.0"]
