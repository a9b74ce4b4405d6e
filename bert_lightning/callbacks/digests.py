"""Which examples a run has trained on: the sha256 of every global batch, to compare runs with each other."""

from pathlib import Path
from typing import Any

import lightning as L

from bert_lightning.distributed.collectives import gather_objects
from data_pipeline.streams.packing import PackedBatch, example_digests, global_digest


class BatchDigests(L.Callback):
    """Write one line per step, the digest of its global batch, as `bert-inspect digests=<file>` does for the stream.

    It gathers over the ranks and waits for the device at every step: for audits, not for speed.

    Args:
        path: The file; a resumed run takes away the lines of steps that are made again.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the lines of the steps that the run continues from."""
        if not trainer.is_global_zero:
            return
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(f"{line}\n" for line in lines[: trainer.global_step]))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: list[PackedBatch], batch_idx: int
    ) -> None:
        """Add the line of the step that was just made."""
        digests: dict[int, bytes] = {}
        for micro_batch in batch:
            digests |= example_digests(micro_batch.to("cpu"))
        shares = gather_objects(digests)
        if trainer.is_global_zero:
            with self.path.open("a") as file:
                file.write(
                    global_digest({sample: digest for share in shares for sample, digest in share.items()}) + "\n"
                )
