"""What a run is going to be, decided once from the settings, the machine and the prepared data."""

from dataclasses import dataclass

from omegaconf import DictConfig

from bert_lightning.settings.config import (
    Processes,
    check_numbers,
    filled_in,
    find_processes,
    prepared_folder,
    resolve_precision,
    validate,
)
from bert_lightning.settings.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The decisions that everything else of a run is built from.

    Attributes:
        settings: The config, with what follows from the prepared data filled in. It is read-only.
        processes: The processes that train.
        precision: The precision of the computation; `auto` has been resolved.
        folder: The folder of the run.
    """

    settings: DictConfig
    processes: Processes
    precision: str
    folder: RunFolder

    @property
    def device_type(self) -> str:
        """Torch's word for the accelerator, "cuda" or "cpu"."""
        return "cuda" if self.processes.accelerator == "gpu" else "cpu"


def plan_run(cfg: DictConfig, is_parallel: bool) -> RunPlan:
    """Check the settings of bert-pretrain against each other, the machine and the prepared data, and fill them in.

    Args:
        cfg: The settings as the user gave them. They are not changed.
        is_parallel: Whether the strategy runs several processes.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    check_numbers(cfg.data, cfg.seed)
    processes = find_processes(cfg.trainer, is_parallel)
    manifest = prepared_folder(cfg.data).manifest
    has_validation = manifest.without(list(cfg.data.exclude_shards)).splits.get("validation")
    trainer = {} if has_validation else {"limit_val_batches": 0}
    settings = filled_in(cfg, {"model": {"vocab_size": manifest.vocab_size}, "trainer": trainer})
    validate(settings, processes)
    precision = resolve_precision(settings.trainer.precision, processes.accelerator)
    return RunPlan(settings, processes, precision, RunFolder(settings.run_dir))
