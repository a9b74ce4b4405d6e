"""Which examples a run has trained on: the sha256 of every global batch, to compare runs with each other."""

from pathlib import Path
from typing import Any

import lightning as L

from bert_lightning.distributed.collectives import gather_objects
from bert_lightning.settings.run_folder import write_whole
from bert_lightning.training.spared_files import goes_on
from data_pipeline.streams.packed_batch import PackedBatch, example_digests, global_digest


class BatchDigests(L.Callback):
    """Write one line per step, the digest of its global batch, as `bert-inspect digests=<file>` does for the stream.

    It gathers over the ranks and waits for the device at every step: for audits, not for speed.

    If the disk is full, the lines end; a resumed run leaves the lines of the steps that it does not know empty.

    Args:
        path: The file; a resumed run takes away the lines of steps that are made again.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._is_whole = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the lines of the steps that the run continues from."""
        self._is_whole = False
        if not trainer.is_global_zero:
            return
        with goes_on(f"{self.path} is not continued"):
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            lines += [""] * (trainer.global_step - len(lines))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, "".join(f"{line}\n" for line in lines[: trainer.global_step]))
            self._is_whole = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: list[PackedBatch], batch_idx: int
    ) -> None:
        """Add the line of the step that was just made."""
        digests: dict[int, bytes] = {}
        for micro_batch in batch:
            digests |= example_digests(micro_batch.to("cpu"))
        shares = gather_objects(digests)
        if not self._is_whole:
            return
        self._is_whole = False
        with goes_on(f"{self.path} ends before step {trainer.global_step}"), self.path.open("a") as file:
            file.write(global_digest({sample: digest for share in shares for sample, digest in share.items()}) + "\n")
            file.flush()
            self._is_whole = True
