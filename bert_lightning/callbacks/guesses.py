"""Held-out examples with the model's guesses: the same examples at every validation."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bert_lightning.metrics.guess_tables import PAIR_COLUMNS, TOKEN_COLUMNS, GuessedSentence, GuessTables
from data_pipeline.streams.packed_batch import MLM, PackedBatch
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)


class Guesses(L.Callback):
    """Log what the heads say about the first held-out examples: masked tokens as text, and tables if a logger has them.

    The table `guesses` has a row for each masked token, sorted by the kind of the token, and the table `pairs` one for
    each pair. The callback listens to the heads during the validation pass, so it costs no other pass and works on
    sharded models.

    Args:
        num_examples: Examples to show.
        top_k: Guesses to show for each masked token.
        num_masks: Masked tokens to show of each example.
        head: Name of the objective's MaskedLMHead.
    """

    def __init__(self, num_examples: int = 4, top_k: int = 3, num_masks: int = 4, head: str = "mlm_head") -> None:
        for name, number in (("num_examples", num_examples), ("top_k", top_k), ("num_masks", num_masks)):
            check_whole_number(f"callbacks.guesses.{name}", number)
        self.num_examples = num_examples
        self.top_k = top_k
        self.num_masks = num_masks
        self.head = head
        self._scores: dict[str, Tensor] = {}
        self._listeners: list[RemovableHandle] = []

    def setup(self, trainer: Any, pl_module: L.LightningModule, stage: str) -> None:
        """Raise a ValueError, on every rank, if more guesses are asked for than the vocabulary has entries."""
        size = trainer.datamodule.tokenizer.get_vocab_size()
        if self.top_k > size:
            raise ValueError(f"callbacks.guesses.top_k={self.top_k}, but the vocabulary has {size} entries")

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: list[PackedBatch], batch_idx: int, *args: Any
    ) -> None:
        """Listen to the heads that the objective has during the first batch."""
        if batch_idx != 0 or not trainer.is_global_zero:
            return
        for name in batch[-1].targets:
            head = getattr(pl_module.objective, self.head if name == MLM else f"{name}_head", None)
            if isinstance(head, nn.Module):
                self._listen(name, head)

    def _listen(self, name: str, head: Any) -> None:
        def keep(module: Any, inputs: tuple[Tensor, ...], output: object) -> None:
            self._scores[name] = module.scores(*inputs[:-1])  # the labels come last

        self._listeners.append(head.register_forward_hook(keep))

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: list[PackedBatch],
        batch_idx: int,
        *args: Any,
    ) -> None:
        """Write the tables of the first batch."""
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.remove()
        scores = {name: kept.float() for name, kept in self._scores.items()}
        self._listeners, self._scores = [], {}
        tables = GuessTables(trainer.datamodule.tokenizer, self.num_examples, self.num_masks, self.top_k)
        step, examples = trainer.global_step, batch[-1]
        if MLM in scores:
            sentences = tables.sentences(examples, scores.pop(MLM))
            _say(sentences)
            _log_table(trainer, "guesses", TOKEN_COLUMNS, _by_kind(step, sentences))
        for name, kept in scores.items():
            _log_table(trainer, "pairs", PAIR_COLUMNS, [[step, *row] for row in tables.pairs(examples, name, kept)])


def _say(sentences: Sequence[GuessedSentence]) -> None:
    for each in sentences:
        lines = (f"    {token.mask} is {token.truth}; guesses: {token.guesses}" for token in each.tokens)
        log.info("%s", "\n".join([each.text, *lines]))


def _by_kind(step: int, sentences: Sequence[GuessedSentence]) -> list[list[Any]]:
    """Return a row for each masked token, sorted by its kind."""
    rows = [
        [step, token.kind, each.text, token.mask, token.truth, token.guesses, token.probability]
        for each in sentences
        for token in each.tokens
    ]
    return sorted(rows, key=lambda row: row[1])


def _log_table(trainer: L.Trainer, name: str, columns: Sequence[str], rows: list[list[Any]]) -> None:
    for logger in trainer.loggers:
        if hasattr(logger, "log_table"):
            logger.log_table(name, columns=list(columns), data=rows, step=trainer.global_step)
