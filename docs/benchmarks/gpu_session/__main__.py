"""Start a session: python -m gpu_session SECONDS OUT WORK; see ../gpu_session.sh."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from gpu_session.records import ROOT, add_kernels, sources_digest
from gpu_session.session import Session
from gpu_session.steps import chosen, tiny
from gpu_session.worker import Worker


def _end(signal_number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _names(variable: str) -> list[str]:
    """Return the names of steps in a variable of the environment."""
    return os.environ.get(variable, "").replace(",", " ").split()


def main(seconds: float, out: Path, work: Path) -> int:
    """Go through the queue in the time given; returns the exit status, 1 if a step failed and 130 if it was stopped."""
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, _end)
    results, log = work / "results", work / "log.txt"
    results.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    steps = chosen(_names("ONLY"))
    session = Session(
        steps=[tiny(step) for step in steps] if os.environ.get("DRY") else steps,
        deadline=begin + seconds,
        results=results,
        out=out,
        log=log,
        committed=[path for path in (ROOT / "docs" / "benchmarks").iterdir() if path.is_dir()],
        sources=sources_digest(),
        start=partial(Worker, log, results, work),
        repeat=_names("REPEAT"),
        say=partial(print, flush=True),
    )
    try:
        session.run()
    except KeyboardInterrupt:
        return 130
    add_kernels(work / "kernels", work, out)
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()))
