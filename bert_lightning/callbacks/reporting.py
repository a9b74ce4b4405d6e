"""Keep what the report of a run shows, and write the report when the run ends."""

import logging
from pathlib import Path
from typing import Any

import lightning as L

from bert_lightning.reports.guessing import guess_by_frequency
from bert_lightning.reports.shown_quantities import write_shown
from bert_lightning.settings.run_about import About, command_line, data_of, environment_of, write_about
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.datamodules import PretrainingData
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.spared_files import goes_on

log = logging.getLogger(__name__)
TOKENS_TO_GUESS_BY = 4_000_000
"""Most tokens whose frequencies are counted when a run begins, to say what guessing by them reaches: 8 MB of shards.

No shard is fetched from elsewhere for it."""


class Report(L.Callback):
    """Write the page with curves, final figures and the config, on the first rank.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.folder = RunFolder(run_dir)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note how the quantities of the objective are shown, and what the run is."""
        if trainer.is_global_zero:
            with goes_on(f"{self.folder.quantities} is not written"):
                write_shown(self.folder.quantities, pl_module.objective.quantities)
            with goes_on(f"{self.folder.about} is not written"):
                write_about(self.folder.about, _about(trainer, pl_module))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the page if there is something to show: a run may be told to stop before its first metrics."""
        if trainer.is_global_zero and self.folder.metrics.exists():
            from bert_lightning.reports.report import write_report  # the charts take a second to load

            with goes_on(f"{self.folder.report} is not written"):
                log.info("report: %s", write_report(self.folder.path))


def _about(trainer: Any, pl_module: TrainingModule) -> About:
    environment = environment_of(trainer.world_size, pl_module.device, str(trainer.precision))
    encoder, data = next(iter(pl_module.objective.encoders().values())), trainer.datamodule
    size = sum(weight.numel() for weight in encoder.parameters())
    if not isinstance(data, PretrainingData):
        return About(command_line(), environment, encoder_parameters=size)
    guessing = guess_by_frequency(data.near_token_counts(TOKENS_TO_GUESS_BY), pl_module.objective.quantities)
    return About(command_line(), environment, data_of(data.folder.path, data.folder.manifest), guessing, size)
