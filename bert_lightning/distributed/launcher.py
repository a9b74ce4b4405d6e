"""The process that started this rank: if it is gone or stays stopped, the rank saves and ends.

torchrun starts each rank in a session of its own, so a rank outlives an agent that is killed, and trains on while an
agent is stopped. Nobody would look after it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)
STARTED_BY = "BERT_LIGHTNING_STARTED_BY"
"""Variable that a process sets for the ranks that it starts itself: its number."""
_THREAD = "launcher-watch"


def started_by_launcher(environment: MutableMapping[str, str], parent: int) -> bool:
    """Return whether torchrun, or another rank, has started this process.

    >>> started_by_launcher({}, 7), started_by_launcher({STARTED_BY: "7"}, 7), started_by_launcher({STARTED_BY: "8"}, 7)
    (False, True, False)

    Args:
        environment: The variables of this process.
        parent: Number of the process that started this one.
    """
    return "TORCHELASTIC_RUN_ID" in environment or environment.get(STARTED_BY) == str(parent)


def watch_launcher(
    environment: MutableMapping[str, str] = os.environ,
    poll_seconds: float = 1.0,
    stopped_seconds: float = 30.0,
    grace_seconds: float = 60.0,
) -> None:
    """Watch the process that started this rank from a thread, if that was a launcher; call it before ranks are started.

    Args:
        environment: The variables of this process.
        poll_seconds: Seconds between two looks.
        stopped_seconds: How long the launcher may be stopped; less than the watchdog waits, which saves nothing.
        grace_seconds: Seconds between the request to save and the end by force.
    """
    parent = os.getppid()
    if started_by_launcher(environment, parent) and all(each.name != _THREAD for each in threading.enumerate()):
        times = (poll_seconds, stopped_seconds, grace_seconds)
        threading.Thread(target=_watch, args=(parent, *times), name=_THREAD, daemon=True).start()
    environment[STARTED_BY] = str(os.getpid())


def _watch(parent: int, poll_seconds: float, stopped_seconds: float, grace_seconds: float) -> None:
    looks_stopped = 0  # counted, since this process may be stopped and continued together with its launcher
    while os.getppid() == parent and looks_stopped * poll_seconds < stopped_seconds:
        time.sleep(poll_seconds)
        looks_stopped = looks_stopped + 1 if _is_stopped(parent) else 0
    why = "has ended" if os.getppid() != parent else "is stopped"
    log.error("the process %d that started this rank %s: the run saves and ends", parent, why)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(1)


def _is_stopped(process: int) -> bool:
    """Return whether a process is stopped, as by SIGSTOP; False if the system does not say."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in ("T", "t")
