"""How a command begins and ends: a config in; what stops it is one line on standard error and an exit status.

A wrong input ends with status 2, what the machine does with 75, a bug with 1, and Ctrl-C with 130, as shells count.
"""

import functools
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.config import is_first_process
from bert_lightning.settings.doors import answer
from bert_lightning.settings.suggestions import check_words, in_our_words
from bert_lightning.settings.typed_words import quote_arguments
from data_pipeline.processes.child_processes import pass_over_losses_at_the_end
from data_pipeline.processes.machine_faults import TRY_AGAIN, MachineError, machine_fault
from data_pipeline.untrusted.escaping import printable

RENAMED = {
    "logger.csv.path": "logger.csv.run_dir, the folder of the run",
    "callbacks.checkpoint.dirpath": "callbacks.checkpoint.run_dir, the folder of the run",
    "prompting.split": "split",
}
"""Keys of earlier versions that Hydra no longer finds, and what to type instead."""
INTERRUPTED = 130
_PLUGINS = Path(__file__).parents[1] / "sweeps/plugins"
"""The folder whose hydra_plugins/ Hydra looks into; a wheel has hydra_plugins beside the package instead."""
_VARIABLE = "HYDRA_FULL_ERROR"
_ASKED = os.environ.get(_VARIABLE)


def entry_point(config_name: str, run: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Return the main function of a console script: compose a config from the command line and run with it.

    A `ValueError`, an error of Hydra about the config, or one of the file system is a message to the user: one line,
    status 2, no traceback, unless HYDRA_FULL_ERROR=1 asks for it. So is what the machine does to the command, such as
    a full disk, with the status `TRY_AGAIN`. Any other error is a bug and shows its traceback.

        main = entry_point("prepare", prepare)
    """

    @functools.wraps(run)
    def job(cfg: DictConfig) -> Any:
        with _failure_of_a_point(config_name) if is_point() else _messages(config_name), as_asked():
            return run(cfg)

    main = hydra.main(version_base="1.3", config_path=CONF_DIR, config_name=config_name)(job)

    def guarded() -> None:
        # Hydra prints several lines about an error in a config and exits; asked for the full error it raises instead.
        os.environ[_VARIABLE] = "1"
        if (said := answer(config_name, sys.argv[1:])) is not None:
            print(said)
            return
        _write_every_letter()
        _show_plugins()
        pass_over_losses_at_the_end()
        try:
            with _messages(config_name):
                check_words(sys.argv[1:], config_name)
                quote_arguments()
                main()
        finally:
            _restore()

    return guarded


def plain_entry_point(command: str, run: Callable[[Sequence[str]], None]) -> Callable[[], None]:
    """Return the main function of a command that takes words instead of key=value; its errors are as above.

    Args:
        command: Name of the command, without bert-.
        run: The command; it is called with the words of the command line.
    """

    def main() -> None:
        if (said := answer(command, sys.argv[1:])) is not None:
            print(said)
            return
        _write_every_letter()
        with _messages(""):
            run(sys.argv[1:])

    return main


def _show_plugins() -> None:
    """Have Hydra see our plugins in a checkout that is not installed, in this process and its children."""
    if _PLUGINS.is_dir() and str(_PLUGINS) not in sys.path:
        sys.path.append(str(_PLUGINS))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_PLUGINS))))


def _write_every_letter() -> None:
    """Have letters that the locale cannot write, as under LC_ALL=C, written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_point() -> bool:
    """Return whether this process runs a point of a sweep on behalf of Hydra."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@contextmanager
def _failure_of_a_point(command: str) -> Iterator[None]:
    """Turn an error into one that any launcher can hand on: a message. A bug shows its traceback here."""
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        kind = ValueError if machine_fault(error) is None else MachineError
        raise kind(_one_line(error, command)) from None
    except Exception as error:
        if (fault := machine_fault(error)) is not None:
            raise MachineError(fault) from None
        traceback.print_exc()
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _restore() -> None:
    """Set the user's HYDRA_FULL_ERROR, or none."""
    os.environ.pop(_VARIABLE, None)
    if _ASKED is not None:
        os.environ[_VARIABLE] = _ASKED


@contextmanager
def as_asked() -> Iterator[None]:
    """Restore the user's HYDRA_FULL_ERROR while the command runs, for the processes that it starts."""
    for_hydra = os.environ[_VARIABLE]
    _restore()
    try:
        yield
    finally:
        os.environ[_VARIABLE] = for_hydra


@contextmanager
def _messages(command: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        if _ASKED not in (None, "", "0"):
            raise
        print(f"error: {_one_line(error, command)}", file=sys.stderr)
        sys.exit(2 if machine_fault(error) is None else TRY_AGAIN)
    except RuntimeError as error:
        if (fault := machine_fault(error)) is None:
            raise
        print(f"error: {printable(fault)}", file=sys.stderr)
        sys.exit(TRY_AGAIN)
    except KeyboardInterrupt as error:
        _end_interrupted(error)
    except SystemExit as ended:
        if ended.code == 1 and isinstance(ended.__context__, KeyboardInterrupt):  # Lightning exits so
            _end_interrupted(ended.__context__)
        raise


def _end_interrupted(error: KeyboardInterrupt) -> NoReturn:
    if is_first_process():
        print(f"interrupted{f': {error}' if str(error) else ''}", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _one_line(error: BaseException, command: str) -> str:
    """Return an error in one line; hydra.utils.instantiate wraps errors, so their cause says what is wrong."""
    while isinstance(error, HydraException) and isinstance(error.__cause__, ValueError):
        error = error.__cause__
    text = " ".join(str(error).split())
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return printable(text)
    renamed = (f"{old} is now {new}" for old, new in RENAMED.items() if f"'{old}'" in text)
    return printable(next(renamed, "") or in_our_words(text, command, sys.argv[1:]))
