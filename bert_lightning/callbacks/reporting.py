"""Write the report when a run ends."""

import logging
from pathlib import Path
from typing import Any

import lightning as L

from bert_lightning.reports.report import write_report
from bert_lightning.reports.shown_quantities import write_shown
from bert_lightning.settings.run_folder import RunFolder

log = logging.getLogger(__name__)


class Report(L.Callback):
    """Write the page with curves, final figures and the config, on the first rank.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.folder = RunFolder(run_dir)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note how the quantities of the objective are shown."""
        if trainer.is_global_zero:
            write_shown(self.folder.quantities, pl_module.objective.quantities)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the page if there is something to show: a run may be told to stop before its first metrics."""
        if trainer.is_global_zero and self.folder.metrics.exists():
            log.info("report: %s", write_report(self.folder.path))
