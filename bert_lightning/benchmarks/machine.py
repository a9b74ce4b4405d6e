"""The machine of a measurement: hardware, versions and commit."""

import importlib.metadata
import platform

import torch

from bert_lightning.settings.run_facts import commit
from data_pipeline.processes.processors import num_processors, processor_name

PACKAGES = ("torch", "lightning", "transformers", "webdataset", "tokenizers", "numpy")


def machine() -> dict[str, object]:
    """Return the facts to quote with a figure."""
    return {
        "processor": processor_name(),
        "cores": num_processors(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
