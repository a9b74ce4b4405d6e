"""What a run is, kept in its folder for the report: command, environment, data, and what guessing reaches."""

import json
import platform
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from bert_lightning import __version__
from bert_lightning.settings.run_facts import commit
from bert_lightning.settings.run_folder import write_whole
from bert_lightning.settings.started_command import started_by
from bert_lightning.settings.typed_words import unquoted
from data_pipeline.prepared.health import health_rows
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.processes.processors import processor_name
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import build, without_unknown

_OF_A_TRIAL = "+callbacks.trial"
"""What a search adds to a trial, and what a repetition of the trial does not need."""

_UNNAMED = ("resume=auto", "resume=null", "resume=")
"""The ways not to name a checkpoint."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the text.

    Attributes:
        name: Its name.
        origin: Where it is from.
        licence: Its license.
        documents: Number of its documents.
    """

    name: str
    origin: str
    licence: str
    documents: int


@dataclass(frozen=True, slots=True)
class Data:
    """The prepared data of a run.

    Attributes:
        path: Folder or address.
        sha256: Hash of the content.
        sources: The sources.
        splits: Documents, sentences, tokens and bytes of every split.
        health: Name, value and advice of every figure of the health table.
    """

    path: str
    sha256: str
    sources: list[Source]
    splits: dict[str, dict[str, int]]
    health: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class About:
    """What a run is.

    Attributes:
        command: The line that starts it; None if it was not started by a command.
        environment: Versions, devices, machine and commit, by name.
        data: The prepared data; None for a task.
        guessing: What guessing by the frequencies of the training tokens reaches, by the name of the quantity.
        encoder_parameters: Number of weights of the encoder that the run is for; 0 of a run by an earlier version.
    """

    command: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    data: Data | None = None
    guessing: dict[str, float] = field(default_factory=dict)
    encoder_parameters: int = 0


def command_line() -> str | None:
    """Return the line that starts the run of this process, and goes on with it; None if no command has been given.

    A trial of a search has the settings that were chosen for it. A run that began from a named checkpoint names it.
    """
    if not HydraConfig.initialized():
        return None
    hydra: Any = HydraConfig.get()
    return shlex.join([*started_by(hydra), *repeated(hydra.overrides.task)])


def repeated(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that start a run once more, or go on with it if it is there.

    >>> repeated(["run_name=a", "+callbacks.trial={number: 3}"]), repeated(["resume=null"])
    (['run_name=a', 'resume=auto'], ['resume=auto'])
    >>> repeated(["resume=b.ckpt", "run_name=a"])
    ['resume=b.ckpt', 'run_name=a']
    """
    kept = [each for each in map(unquoted, overrides) if each.partition("=")[0] != _OF_A_TRIAL]
    named = [each for each in kept if each.partition("=")[0] == "resume" and each not in _UNNAMED]
    others = [each for each in kept if each.partition("=")[0] != "resume"]
    return kept if named else [*others, "resume=auto"]


def environment_of(processes: int, device: torch.device, precision: str) -> dict[str, str]:
    """Return versions, devices, machine and commit, by name."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "bert-lightning": __version__,
        "commit": commit() or "not in a checkout",
        "devices": f"{processes} x {name}",
        "precision": precision,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": socket.gethostname(),
        "program": sys.executable,
    }


def data_of(path: str, manifest: Manifest) -> Data:
    """Return what the report says of prepared data."""
    sources = [Source(each.name, each.origin, each.licence, each.documents) for each in manifest.sources]
    splits = {split: dict(manifest.totals(split)) for split in manifest.splits}
    return Data(path, manifest.content_sha256, sources, splits, [asdict(row) for row in health_rows(manifest.health)])


def write_about(path: Path, about: About) -> None:
    """Keep what a run is."""
    write_whole(path, json.dumps(asdict(about), indent=1) + "\n")


def read_about(path: Path) -> About:
    """Return what a run is; of a run that is older than the file, nothing.

    Raises:
        ValueError: if the file is damaged.
    """
    content = read_object(path)
    return About() if content is None else build(About, without_unknown(About, content), str(path))
