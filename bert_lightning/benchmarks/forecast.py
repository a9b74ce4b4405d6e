"""How long the steps of a run take on this machine, from a few of them on made-up tokens."""

from bert_lightning.benchmarks.contestants import Setting, ours
from bert_lightning.benchmarks.model_batches import LengthMixture, synthetic_batches
from bert_lightning.benchmarks.step_speed import race
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.phases import Phase, Phases

FULL_ROWS = LengthMixture(mean_share=1.0, full_share=1.0)
REPEATS = 3


def seconds_of_steps(setting: Setting, phases: Phases) -> float:
    """Return how long the training steps of a run on one device take, without reading, validation and saving.

    Args:
        setting: The model, its optimizer and its precision.
        phases: The steps; their examples are taken to fill `seq_len`.
    """
    return sum(phase.num_steps * _seconds_of_step(setting, phase) for phase in phases)


def _seconds_of_step(setting: Setting, phase: Phase) -> float:
    shape = PackedShape(phase.micro_batch_size, phase.seq_len)
    batches = synthetic_batches(FULL_ROWS, 1, shape, setting.config.vocab_size, phase.masking, setting.seed)
    (runner,) = race([ours(setting)], batches, REPEATS, steps=1)
    return runner.median_seconds * phase.global_batch_size / phase.micro_batch_size
