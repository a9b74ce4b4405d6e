"""Write report.html when a run ends."""

import logging
from pathlib import Path

import lightning as L

from bert_lightning.reports.report import write_report

log = logging.getLogger(__name__)


class Report(L.Callback):
    """Write the page with curves, final figures and the config, on the first rank.

    Args:
        run_dir: Folder with metrics.csv and config.yaml.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the page where there is something to show: a run may be told to stop before its first metrics."""
        if trainer.is_global_zero and (self.run_dir / "metrics.csv").exists():
            log.info("report: %s", write_report(self.run_dir))
