"""How a command begins and ends: a config in, and a wrong input is one line on standard error and exit status 2."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.config import CONF_DIR

_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"


def entry_point(config_name: str, run: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Return the main function of a console script: compose a config from the command line and run with it.

    A `ValueError`, or an error of Hydra about the config, is a message to the user: one line, status 2, no traceback,
    unless HYDRA_FULL_ERROR=1 asks for it. Any other error is a bug and shows its traceback.

        main = entry_point("prepare", prepare)
    """

    @functools.wraps(run)
    def job(cfg: DictConfig) -> None:
        with _messages():
            run(cfg)

    main = hydra.main(version_base="1.3", config_path=CONF_DIR, config_name=config_name)(job)

    def guarded() -> None:
        # Hydra prints several lines about an error in a config and exits; asked for the full error it raises instead.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        with _messages():
            main()

    return guarded


@contextmanager
def _messages() -> Iterator[None]:
    try:
        yield
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        if _TRACEBACK:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _one_line(error: BaseException) -> str:
    """Return what is wrong, from the innermost cause: hydra.utils.instantiate wraps the errors of what it builds."""
    while isinstance(error.__cause__, ValueError):
        error = error.__cause__
    return " ".join(str(error).split())
