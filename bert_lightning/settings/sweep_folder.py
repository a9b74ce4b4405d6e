"""The folder of a search: the names of its files, the folders of its trials, and the storage of its study."""

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bert_lightning.settings.run_folder import write_whole
from data_pipeline.processes.machine_faults import MachineError
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import build

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)
T = TypeVar("T")
PAUSES = (1.0, 4.0, 15.0, 40.0)
"""Seconds between two tries to reach the storage of a study."""


@dataclass(frozen=True, slots=True)
class NotedStudy:
    """Where a study is kept.

    Attributes:
        storage: Path of a journal, or the URL of a database; None for the journal in the folder of the search.
        name: Name of the study.
    """

    storage: str | None
    name: str


class SweepFolder:
    """What lies in the folder of a search.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.journal = self.path / "study.journal"
        """The study, unless it is kept elsewhere: one line for everything that happened."""
        self.study = self.path / "study.json"
        """Where the study is kept, and its name."""
        self.trials = self.path / "trials.csv"
        """One row a trial."""
        self.best = self.path / "best.yaml"
        """The settings of the best trial, a config to run."""
        self.base = self.path / "base.yaml"
        """What `best` is built upon, if the search was given a config of the user's own."""
        self.report = self.path / "report.html"
        """The page about the search."""
        self.stop = self.path / ".stop"
        """While this file is there, trials save and end."""

    def trial(self, number: int) -> Path:
        """Return the folder of the run of a trial."""
        return self.path / trial_name(number)

    def storage(self, noted: NotedStudy) -> str:
        """Return the address of the storage of a study."""
        return noted.storage or str(self.journal)

    def write_study(self, noted: NotedStudy) -> None:
        """Note where the study is kept; only the owner of the file reads a password."""
        self.path.mkdir(parents=True, exist_ok=True)
        has_password = noted.storage is not None and without_password(noted.storage) != noted.storage
        write_whole(self.study, json.dumps(asdict(noted)) + "\n", mode=0o600 if has_password else 0o666)

    def trial_numbers(self) -> set[int]:
        """Return the numbers of the trials that have folders."""
        ends = (path.name.removeprefix("trial-") for path in self.path.glob("trial-*"))
        return {int(end) for end in ends if end.isdecimal()}

    def read_study(self) -> NotedStudy | None:
        """Return where the study is kept, None if the folder is of no search.

        Raises:
            ValueError: if the note is damaged.
        """
        content = read_object(self.study)
        return None if content is None else build(NotedStudy, content, str(self.study))


def noted_study(folder: SweepFolder, name: str, storage: str | None) -> NotedStudy:
    """Return where the study of a search is kept, which is where an earlier start has kept it, if it still is there.

    Args:
        folder: Folder of the search.
        name: Name of the search.
        storage: The setting of the sweeper.

    Raises:
        ValueError: if the folder is of another search, or its study is elsewhere.
    """
    now, before = NotedStudy(None if storage is None else absolute(storage), name), folder.read_study()
    if before is None:
        return now
    if before.name != name:
        raise ValueError(
            f"run_name={name}, but {folder.study} is of the search {before.name}; give the folder its name "
            "back, or take another run_name"
        )
    was, is_now = (each and without_password(absolute(each)) for each in (before.storage, storage))
    has_moved = before.storage is not None and storage is not None and lacks_file(absolute(before.storage))
    if was != is_now and not has_moved:
        raise ValueError(f"hydra.sweeper.storage was {was} when the search {name} began, is {is_now}")
    return now


def trial_name(number: int) -> str:
    """Return the name of the folder of a trial.

    >>> trial_name(7)
    'trial-0007'
    """
    return f"trial-{number:04d}"


def group_of(run_name: str) -> str | None:
    """Return the name of the sweep, or of the fine-tuning, that a run belongs to; None for a run by itself.

    >>> group_of("lr/trial-0003"), group_of("lr/optimizer.lr=0.1"), group_of("cola/seed-0"), group_of("bert")
    ('lr', 'lr', 'cola', None)

    The seeds of a trial belong to the search.

    >>> group_of("lr/trial-0003/seed-1")
    'lr'
    """
    names = run_name.split("/")[:-1]
    while len(names) > 1 and (re.fullmatch(r"trial-\d+", names[-1]) or "=" in names[-1]):
        names.pop()
    return "/".join(names) or None


def import_optuna() -> Any:
    """Return the package optuna, which then says only what is wrong.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError("hydra/sweeper=optuna needs optuna: pip install 'bert-lightning[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_storage(address: str) -> "BaseStorage":
    """Return the storage of a study.

    The lock of a journal is a file of its own that only one process can make, which works on NFS too; a process that
    dies with the lock holds up the others for half a minute.

    Args:
        address: Path of a journal, or the URL of a database.

    Raises:
        ValueError: if the address is none of a database.
        MachineError: if the database does not answer.
    """
    optuna = import_optuna()
    if "://" in address:
        from sqlalchemy.exc import OperationalError

        try:
            return optuna.storages.RDBStorage(address)
        except Exception as error:
            kind, shown = MachineError if isinstance(error, OperationalError) else ValueError, without_password(address)
            said = str(error).replace(address, shown)
            raise kind(f"hydra.sweeper.storage={shown} cannot be opened: {said}") from None
    from optuna.storages import journal

    path = Path(address).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), journal.JournalFileOpenLock(str(path))))


def without_password(address: str) -> str:
    """Return the address of a storage as messages show it.

    >>> without_password("postgresql://me:secret@host:5432/db"), without_password("a/study.journal")
    ('postgresql://me:***@host:5432/db', 'a/study.journal')
    >>> without_password("mysql://host/db?user=me&password=secret&charset=utf8")
    'mysql://host/db?user=me&password=***&charset=utf8'
    """
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", address))


def absolute(address: str) -> str:
    """Return the address of a storage so that it is the same one from every folder.

    >>> absolute("/a/../b.journal"), absolute("sqlite:////a/../b.db?timeout=9"), absolute("postgresql://host/a")
    ('/b.journal', 'sqlite:////b.db?timeout=9', 'postgresql://host/a')
    """
    before, path, behind = _parted(address)
    return f"{before}{os.path.abspath(path) if path else ''}{behind}"


def lacks_file(address: str) -> bool:
    """Return whether a storage is a file that is not there; to open it would make an empty one.

    >>> lacks_file("/nowhere/a.journal"), lacks_file("sqlite:////nowhere/a.db"), lacks_file("postgresql://host/a")
    (True, True, False)
    """
    _, path, _ = _parted(address)
    return path != "" and not Path(path).exists()


def _parted(address: str) -> tuple[str, str, str]:
    """Return the path of a file in an address, and what stands before and behind it; of a server there is no path."""
    if "://" not in address:
        return "", address, ""
    found = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:)([^?]+)(.*)", address)
    return (found[1], found[2], found[3]) if found else (address, "", "")


@contextmanager
def naming(address: str) -> Iterator[None]:
    """Turn what a storage raises that is away, its database or its disk, into one line that names it.

    Args:
        address: Path of the journal, or the URL of the database.

    Raises:
        MachineError: if the storage does not answer.
    """
    try:
        yield
    except MachineError:
        raise
    except (OSError, import_optuna().exceptions.StorageInternalError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise MachineError(f"hydra.sweeper.storage={without_password(address)} does not answer: {said}") from error


def patiently(address: str, speak: Callable[[], T]) -> T:
    """Speak with the storage of a study; if it does not answer, try again a few times within a minute.

    Args:
        address: Path of the journal, or the URL of the database.
        speak: What is asked or told; it may be called again after it has failed on its way.

    Raises:
        MachineError: if the storage stays away.
    """
    for seconds in PAUSES:
        try:
            with naming(address):
                return speak()
        except MachineError as error:
            log.warning("%s; trying again in %.0f s", error, seconds)
            time.sleep(seconds)
    with naming(address):
        return speak()


def cut_torn_line(address: str) -> None:
    """Remove a last line of a journal that was cut short, as by a full disk; a line after it would be lost with it.

    Args:
        address: Path of a journal; of the URL of a database nothing is read.
    """
    path = Path(address).absolute()
    if "://" in address or not path.exists() or _ends_whole(path):
        return
    import_optuna()
    from optuna.storages.journal import JournalFileOpenLock

    lock = JournalFileOpenLock(str(path))
    lock.acquire()  # a trial of an earlier start may be about to write
    try:
        if not _ends_whole(path):
            with path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read() in (b"", b"\n")
