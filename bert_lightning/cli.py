"""How a command ends: a wrong input is one line on standard error and exit status 2, a bug is a traceback."""

import functools
import os
import sys
from collections.abc import Callable


def command(run: Callable[[], None]) -> Callable[[], None]:
    """Decorate the main function of a console script.

    A `ValueError` is a message to the user: one line, status 2, no traceback, unless HYDRA_FULL_ERROR is set. Hydra is
    asked to let errors through instead of printing them itself; its own errors about configs are shown the same way.

        @command
        def main() -> None:
            _run()
    """

    @functools.wraps(run)
    def guarded() -> None:
        wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            run()
        except Exception as error:
            if wants_traceback or not _is_message(error):
                raise
            print(f"error: {_one_line(error)}", file=sys.stderr)
            sys.exit(2)

    return guarded


def _is_message(error: BaseException) -> bool:
    """Tell errors that say what the user has to change from bugs."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, ValueError | HydraException | OmegaConfBaseException)


def _one_line(error: BaseException) -> str:
    """Return what is wrong, from the innermost cause: hydra.utils.instantiate wraps the errors of what it builds."""
    while isinstance(error.__cause__, ValueError):
        error = error.__cause__
    return " ".join(str(error).split())
