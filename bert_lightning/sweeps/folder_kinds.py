"""What a folder of outputs holds; each of these keeps files there that the others would overwrite."""

from pathlib import Path

from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.ablation_folder import AblationFolder

RUN, SEARCH, ABLATION = "a run", "a search", "an ablation"
FINETUNING, GRID = "a fine-tuning", "a grid of fine-tunings"
VARIANTS, SUITE = "a fine-tuning in variants", "a fine-tuning on GLUE"


def kind_of(path: Path) -> str | None:
    """Return what a folder holds, in words; None if it is none of them, or does not exist.

    What has its runs in folders of its own, as a search has, is not told by them but by the files beside them.
    """
    files = {
        SEARCH: SweepFolder(path).study,
        ABLATION: AblationFolder(path).json,
        SUITE: path / "glue.json",
        VARIANTS: path / "variants.json",
    }
    for kind, file in files.items():
        if file.exists():
            return kind
    if RunFolder(path).holds_a_run():
        return RUN
    if _hold_a_run(path, "lr-*_batch-*/seed-*"):
        return GRID
    return FINETUNING if FinetunedFolder(path).scores.exists() or _hold_a_run(path, "seed-*") else None


def _hold_a_run(path: Path, pattern: str) -> bool:
    return any(RunFolder(folder).holds_a_run() for folder in path.glob(pattern))


def check_kind(path: Path, run_name: str, wanted: str) -> None:
    """Raise a ValueError if a folder holds something else than what is about to begin or go on there.

    Args:
        path: The folder.
        run_name: The setting that names it.
        wanted: What is about to begin, one of the kinds.
    """
    kind = kind_of(path)
    if kind not in (None, wanted):
        raise ValueError(
            f"run_name={run_name}: {path} holds {kind}, and {wanted} needs a folder of its own; take another run_name"
        )
