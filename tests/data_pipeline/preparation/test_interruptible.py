"""A call that takes long is given up at Ctrl-C; its result and its errors come back."""

import os
import signal
import threading

import pytest

from data_pipeline.preparation.interruptible import interruptible


def fail() -> None:
    raise ZeroDivisionError("inside")


def test_results_and_errors_come_back() -> None:
    assert interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError, match="inside"):
        interruptible(fail)


def test_ctrl_c_ends_the_wait_for_a_call_that_does_not_return() -> None:
    never = threading.Event()

    def wait() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        never.wait()

    with pytest.raises(KeyboardInterrupt):
        interruptible(wait)
    never.set()
