"""Scores of a trained model for every example of a split, over all ranks."""

import torch

from bert_lightning.distributed.collectives import rank, world_size
from bert_lightning.metrics.collected_scores import CollectedScores, ExampleScores
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.settings.progress_bars import counted
from data_pipeline.streams.task_stream import ScoringStream
from data_pipeline.tasks.encoded import EncodedExamples


def score_examples(
    objective: TaskObjective, examples: EncodedExamples, micro_batch_size: int, device: torch.device, is_bf16: bool
) -> ExampleScores:
    """Return the scores of all examples, the same on every rank and for any number of ranks; all ranks must call it.

    Args:
        objective: The whole model, on the device of this rank.
        examples: The examples.
        micro_batch_size: Examples of usual length in one forward pass.
        device: The device.
        is_bf16: Whether matrix products are computed in bf16.
    """
    objective.eval()
    collected = CollectedScores(examples, objective.score_rows)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_bf16)
    with torch.no_grad(), autocast:
        stream = ScoringStream(examples, micro_batch_size, rank(), world_size(), device.type == "cuda")
        for batches in counted(stream, "scoring", len(stream)):
            for batch in batches:
                moved = batch if device.type == "cpu" else batch.to(device, non_blocking=True)
                collected.add(moved, objective.scores(moved))
    return collected.gathered()
