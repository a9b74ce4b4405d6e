"""The streams of a fine-tuning task for the ranks of a trainer."""

from bert_lightning.training.training_data import TimedLoader, TrainingData
from data_pipeline.masking.masking import NoMasking
from data_pipeline.streams.phases import Phase, Phases
from data_pipeline.streams.task_stream import ScoringStream, TaskStream
from data_pipeline.tasks.encoded import EncodedExamples


class TaskData(TrainingData):
    """Training and validation examples of a task.

    Args:
        train: The training examples.
        validation: The examples that the best checkpoint is chosen on.
        num_steps: Optimizer steps of the run.
        seq_len: Most tokens of a sequence.
        global_batch_size: Examples of one optimizer step, over all processes.
        micro_batch_size: Examples of one forward and backward pass of one process.
        validation_micro_batch_size: Examples of usual length in one validation pass of one process.
        seed: Seed of the order.
        num_shapes: Most shapes of the training micro-batches; see `TaskStream`.
    """

    def __init__(
        self,
        train: EncodedExamples,
        validation: EncodedExamples,
        num_steps: int,
        seq_len: int,
        global_batch_size: int,
        micro_batch_size: int,
        validation_micro_batch_size: int,
        seed: int,
        num_shapes: int | None = None,
    ) -> None:
        super().__init__(Phases((Phase(num_steps, seq_len, global_batch_size, micro_batch_size, NoMasking()),)))
        self.validation = validation
        self._train = train
        self._validation_micro_batch_size = validation_micro_batch_size
        self._seed = seed
        self._num_shapes = num_shapes

    def _stream(self, rank: int = 0, world_size: int = 1, pin_memory: bool = False) -> TaskStream:
        phase = self.phases[0]
        return TaskStream(
            self._train,
            phase.global_batch_size,
            phase.micro_batch_size,
            phase.num_steps,
            seed=self._seed,
            rank=rank,
            world_size=world_size,
            pin_memory=pin_memory,
            num_shapes=self._num_shapes,
        )

    def check_sizes(self, world_size: int) -> None:
        """Raise a ValueError if the global batch cannot be dealt to so many processes."""
        self._stream(world_size=world_size)

    def check_state(self, state: dict[str, object]) -> None:
        """Raise a ValueError with the differences if a saved state is of other examples, or another order."""
        self._stream().load_state_dict(state)

    def train_dataloader(self) -> TimedLoader:
        """Return this rank's share of the training stream."""
        stream = self._stream(*self._ranks())
        if (start := self._taken_start()) is not None:
            stream.load_state_dict(start)
        self._loader = TimedLoader(stream)
        return self._loader

    def val_dataloader(self) -> ScoringStream:
        """Return this rank's share of the validation examples."""
        return ScoringStream(self.validation, self._validation_micro_batch_size, *self._ranks())

    def _ranks(self) -> tuple[int, int, bool]:
        """Return the rank, the number of processes, and whether they train on GPUs."""
        trainer = self._require_trainer()
        return trainer.global_rank, trainer.world_size, trainer.strategy.root_device.type == "cuda"
