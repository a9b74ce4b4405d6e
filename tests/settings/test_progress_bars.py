"""Bars fit 80 columns, log lines stand above them, and without a terminal there are none."""

import io
import logging
import os
import pty
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from bert_lightning.callbacks.progress import ProgressReport
from bert_lightning.settings import progress_bars
from bert_lightning.settings.progress_bars import SHOWN_BY_BARS, counted, error_console, open_bars, say_end
from bert_lightning.settings.run_folder import RunFolder
from tests.support.training import fit, make_module, make_objective

FIGURES = "loss 9.540  mlm 12.6%  nsp 68.8%  val 9.520  101,614 tok/s  mfu 41%  wait 3%  packing 99%  10.9 GB"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(width: int = 80) -> tuple[Terminal, Console]:
    stream = Terminal()
    return stream, Console(file=stream, force_terminal=True, width=width, height=24, color_system=None)


def test_a_bar_and_all_its_figures_fit_80_columns() -> None:
    _, console = terminal()
    plain = Console(file=io.StringIO(), width=80)
    with open_bars(console) as bars:
        bars.add_task("training", total=1_000_000, completed=123_456, figures=FIGURES)
        with plain.capture() as captured:
            plain.print(bars.get_renderable())
    lines = captured.get().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "123456/1000000" in lines[0]
    assert "  ".join(line.strip() for line in lines[1:]) == FIGURES


def test_what_is_logged_stands_above_the_bar_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = terminal()
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with open_bars(console) as bars:
        bars.add_task("training", total=2)
        assert handler.stream is not stream
        logging.getLogger().warning("a word")
    assert handler.stream is stream
    assert "a word\n" in stream.getvalue().replace("\r", "")


def test_a_line_that_says_what_the_bar_says_goes_into_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream, console = terminal()
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(stream)])
    log, folder = logging.getLogger("data_pipeline.some"), RunFolder(tmp_path)
    monkeypatch.setattr(log, "level", logging.INFO)
    with folder.logged():
        with open_bars(console):
            log.info("half way", extra=SHOWN_BY_BARS)
            log.info("a word")
        log.info("the end", extra=SHOWN_BY_BARS)
    assert [line.split(" ", 2)[2] for line in folder.log.read_text().splitlines()] == ["half way", "a word", "the end"]
    assert "half way" not in stream.getvalue()
    assert "a word" in stream.getvalue()
    assert "the end" in stream.getvalue()


def test_bars_outlast_a_terminal_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the window is closed in which a run is watched."""
    window, terminal_end = pty.openpty()
    stream = os.fdopen(terminal_end, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with open_bars(error_console()) as bars:
        bars.add_task("training", total=2)
        os.close(window)
        bars.add_task("held-out", total=2)
        logging.getLogger().warning("a word")
    assert handler.stream is stream
    with pytest.raises(OSError, match="Input/output error"):
        stream.write("a word\n")
    with suppress(OSError):
        stream.close()


def test_items_are_counted_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(counted([1, 2, 3], "scoring", 3)) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
    stream, console = terminal()
    monkeypatch.setattr(progress_bars, "error_console", lambda: console)
    assert list(counted([1, 2, 3], "scoring", 3)) == [1, 2, 3]
    assert "scoring" in stream.getvalue()
    assert "3/3" in stream.getvalue()


def test_the_end_says_where_everything_is(capsys: pytest.CaptureFixture[str]) -> None:
    say_end([("run", Path("out/a")), ("checkpoint", "b")], ["first line", "second line"])
    assert capsys.readouterr().out.splitlines() == [
        "run:        out/a",
        "checkpoint: b",
        "next:       first line",
        "            second line",
    ]


def test_training_shows_its_bar_the_held_out_pass_and_the_last_figures(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, prepared: Path, tmp_path: Path
) -> None:
    stream, console = terminal()
    monkeypatch.setattr("bert_lightning.callbacks.progress.error_console", lambda: console)
    module = make_module(make_objective(prepared), 4)
    with caplog.at_level(logging.INFO, "bert_lightning"):
        fit(module, prepared, tmp_path, 4, 32, callbacks=[ProgressReport(2)], val_check_interval=2)
    lines = [record for record in caplog.records if record.getMessage().startswith(("step 2/4", "step 4/4"))]
    assert len(lines) == 2
    assert all(record.shown_by_bars for record in lines)  # type: ignore[attr-defined]
    shown = stream.getvalue()
    assert "4/4" in shown
    assert "held-out" in shown
    assert f"loss {module.latest['train/loss']:.3f}" in shown
    assert max(len(line) for part in shown.split("\n") for line in part.split("\r")) < 120  # with control sequences
