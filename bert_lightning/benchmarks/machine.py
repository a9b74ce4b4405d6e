"""The machine of a measurement: hardware, versions and commit."""

import importlib.metadata
import platform
from pathlib import Path

import torch

from bert_lightning.settings.run_facts import commit
from data_pipeline.processes.processors import num_processors

PACKAGES = ("torch", "lightning", "transformers", "webdataset", "tokenizers", "numpy")


def machine() -> dict[str, object]:
    """Return the facts to quote with a figure."""
    return {
        "processor": _processor(),
        "cores": num_processors(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit(),
    }


def _processor() -> str:
    """Return the name of the processor as Linux gives it, else as Python does."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
