"""bert-benchmark part=finetune: an epoch of fine-tuning on packed examples, beside transformers' on padded rows.

All models begin with the same weights, make the same steps on the same examples with the same optimizer, and are scored
by the same code. transformers' models run in a plain loop: its Trainer does the same and more.
"""

from collections.abc import Mapping
from itertools import islice

import torch
from rich.console import Console
from torch import Tensor

from bert_lightning.benchmarks.contestants import MakeOptimizer, Ours
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.model_tables import ratios
from bert_lightning.benchmarks.padded_tasks import KINDS, PaddedTask
from bert_lightning.benchmarks.step_speed import Runner, race
from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.finetuning.sizes import check_seq_len, fewer_examples
from bert_lightning.finetuning.split_scores import score_examples
from bert_lightning.finetuning.starting_weights import begin_with, starting_state, trained_parts
from bert_lightning.finetuning.task import TRAIN, VALIDATION, Split, Task
from bert_lightning.models.attention import attention_of
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.settings.hardware import device_type
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.task_stream import TaskStream
from data_pipeline.whole_numbers import check_whole_number


class FinetunePart:
    """Measure an epoch of fine-tuning.

    Args:
        task: The task.
        checkpoint: The encoder: a run, a checkpoint, or a Hugging Face folder.
        make_optimizer: Builds the optimizer of parameter groups.
        accelerator: "cpu" or "gpu".
        precision: "32-true" or "bf16-mixed".
        seq_len: Most tokens of a sequence, to which run_glue and run_qa pad.
        global_batch_size: Examples of a step.
        train_examples: Training examples of an epoch; None takes all.
        repeats: Epochs of each model after the first one, which warms up.
        seed: Seed of the new weights and of the order.
    """

    def __init__(
        self,
        task: Task,
        checkpoint: str,
        make_optimizer: MakeOptimizer,
        accelerator: str,
        precision: str,
        seq_len: int,
        global_batch_size: int,
        train_examples: int | None = 4000,
        repeats: int = 2,
        seed: int = 0,
    ) -> None:
        if precision == "fp8":
            raise ValueError("precision must be one of auto, 32-true, bf16-mixed for part=finetune; got fp8")
        check_whole_number("part.repeats", repeats)
        self.task = task
        self.pretrained = load_pretrained(checkpoint)
        check_seq_len(seq_len, self.pretrained.config.max_position_embeddings)
        self.make_optimizer = make_optimizer
        self.device = torch.device(device_type(accelerator))
        self.is_half = precision == "bf16-mixed"
        self.seq_len = seq_len
        self.global_batch_size = global_batch_size
        self.train_examples = train_examples
        self.repeats = repeats
        self.seed = seed

    def __call__(self, console: Console) -> list[FigureTable]:
        """Measure all in turn, then score all."""
        splits = self.task.prepare(self.pretrained.tokenizer(), self.seq_len)
        if (kind := self.task.head().kind) not in KINDS:
            raise ValueError(f"part=finetune compares heads for {' and '.join(KINDS)}; {self.task.name} has {kind}")
        batches = self._epoch(splits[TRAIN])
        ours = self._ours()
        state = {name: tensor.detach().cpu().clone() for name, tensor in ours.model.state_dict().items()}
        others = [self._padded(state, length) for length in (self.seq_len, None)]
        console.print(f"{'; '.join(each.name for each in (ours, *others))}: {1 + self.repeats} epochs each ...")
        runners = race([ours, *others], batches, self.repeats, steps=len(batches))
        tables = [_speeds(runners, batches), ratios(runners)]
        states = {ours.name: ours.model.state_dict()} | {each.name: each.state() for each in others}
        return [*tables, self._scores(states, splits[VALIDATION]), self._facts(batches)]

    def _epoch(self, train: Split) -> list[PackedBatch]:
        examples = fewer_examples(train.encoded, self.train_examples)
        steps = len(examples) // self.global_batch_size
        if not steps:
            raise ValueError(
                f"data.global_batch_size={self.global_batch_size} is more than the {len(examples)} training examples"
            )
        size = self.global_batch_size
        return [batch for (batch,) in islice(TaskStream(examples, size, size, steps, seed=self.seed), steps)]

    def _objective(self) -> TaskObjective:
        config = self.pretrained.config
        attention = attention_of(config, self.device.type, self.is_half)
        return self.task.objective(config, attention, None)

    def _ours(self) -> Ours:
        torch.manual_seed(self.seed)
        objective = self._objective()
        begin_with(objective, starting_state(self.pretrained, trained_parts(objective)))
        return Ours("ours, packed", objective.to(self.device), self.make_optimizer, self.is_half)

    def _padded(self, state: dict[str, Tensor], row_length: int | None) -> PaddedTask:
        name = f"transformers, padded to {row_length or 'the longest of a batch'}"
        sizes = (self.pretrained.config, self.task.head(), state, row_length)
        return PaddedTask(*sizes, name, self.make_optimizer, self.device, self.is_half)

    def _scores(self, states: Mapping[str, Mapping[str, Tensor]], validation: Split) -> FigureTable:
        """Score the weights that each model has reached, all of them in our model."""
        name = self.task.chosen_by
        table = FigureTable(f"{self.task.name}: {name} of the validation split", ("who", name))
        for who, state in states.items():
            objective = self._objective().to(self.device)
            objective.load_state_dict(dict(state))
            scores = score_examples(objective, validation.encoded, 64, self.device, self.is_half)
            table.rows.append((who, self.task.metrics(validation, scores)[name]))
        return table

    def _facts(self, batches: list[PackedBatch]) -> FigureTable:
        tokens, examples = (sum(getattr(batch, name) for batch in batches) for name in ("num_tokens", "num_examples"))
        longest = sum(batch.num_examples * int(batch.tokens.cu_seqlens.diff().max()) for batch in batches)
        computed = sum(len(batch.tokens.input_ids) for batch in batches)
        rows: list[tuple[str, str | float]] = [
            ("task", self.task.name),
            ("precision", "bf16-mixed" if self.is_half else "32-true"),
            ("examples of an epoch", examples),
            ("examples of a step", self.global_batch_size),
            ("mean length", tokens / examples),
            ("filler that ours computes, %", 100 * (1 - tokens / computed)),
            (f"padding of rows of {self.seq_len}, %", 100 * (1 - tokens / (examples * self.seq_len))),
            ("padding to the longest of a batch, %", 100 * (1 - tokens / longest)),
        ]
        return FigureTable("what was measured", ("fact", "value"), list(rows))


def _speeds(runners: list[Runner], batches: list[PackedBatch]) -> FigureTable:
    """Return a row for each model."""
    table = FigureTable(
        "an epoch of fine-tuning: copy, forward, backward, clipping and optimizer",
        ("who", "epoch s", "lowest s", "highest s", "examples/s", "real tokens/s"),
        note="Medians over the epochs after the first.",
    )
    tokens, examples = (sum(getattr(batch, name) for batch in batches) for name in ("num_tokens", "num_examples"))
    for runner in runners:
        epochs = [seconds * len(batches) for seconds in runner.seconds]
        epoch = runner.median_seconds * len(batches)
        table.rows.append((runner.name, epoch, min(epochs), max(epochs), examples / epoch, tokens / epoch))
    return table
