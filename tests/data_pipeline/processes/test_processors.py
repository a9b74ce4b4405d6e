"""A process counts the processors that it may use, not those of its machine."""

import os

import pytest

from data_pipeline.processes.processors import num_processors


def test_processors_that_the_process_may_not_use_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert num_processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert num_processors() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_processors() == 1
