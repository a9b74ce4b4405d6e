"""What a tracker should know of a run besides its curves: settings, code, corpus and tokenizer."""

import subprocess
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bert_lightning import __version__
from data_pipeline.prepared.manifest import Manifest


def run_facts(settings: DictConfig, manifest: Manifest) -> dict[str, Any]:
    """Return the settings of a run, all of them resolved, and under `about` the code and the data behind it.

    Args:
        settings: The settings.
        manifest: The manifest of the prepared data.
    """
    about = {
        "version": __version__,
        "commit": commit(),
        "tokenizer_sha256": manifest.tokenizer_sha256,
        "corpus": {
            "sha256": manifest.content_sha256,
            "sources": {source.name: source.documents for source in manifest.sources},
            "splits": {split: dict(manifest.totals(split)) for split in manifest.splits},
        },
    }
    plain = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(plain, dict)
    return {**{str(name): value for name, value in plain.items()}, "about": about}


def corpus_facts(manifest: Manifest) -> dict[str, Any]:
    """Return what a checkpoint, and the card of its export, say of the text: sources, licenses, sizes, unknown tokens.

    Args:
        manifest: The manifest of the prepared data.
    """
    names = ("name", "origin", "licence", "documents")
    facts: dict[str, Any] = {
        "sources": [{name: getattr(source, name) for name in names} for source in manifest.sources],
        "tokens": {split: manifest.totals(split)["tokens"] for split in manifest.splits},
    }
    if isinstance(unknown := manifest.health.get("unknown_share"), float):
        facts["unknown_share"] = unknown
    return facts


def commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """Return the commit of the checkout that a package is in, marked if files were changed; None outside of one.

    Args:
        package: Folder of the package. It counts only if it is directly in a checkout, because an environment may lie
            in a checkout of something else.
    """
    if not (package.parent / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return said.stdout.strip() or None
