"""What the objectives of fine-tuning tasks share: besides losses, they give the scores that predictions come from."""

from torch import Tensor

from bert_lightning.objectives.objective import Objective
from data_pipeline.streams.packing import PackedBatch


class TaskObjective(Objective):
    """An encoder with a new head; a subclass gives `forward`, `encoders` and `scores`."""

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return the output of the head, one row for each row of the task's targets, filler included; no softmax."""
        raise NotImplementedError
