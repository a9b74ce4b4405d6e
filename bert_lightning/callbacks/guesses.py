"""Masked sentences of the held-out split with the model's guesses: the same sentences at every validation."""

import logging
from typing import Any

import lightning as L
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from bert_lightning.models.heads import MaskedLMHead
from data_pipeline.streams.packing import MLM, PackedBatch
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
COLUMNS = ["step", "sentence", "truth", "guesses"]


class Guesses(L.Callback):
    """Log what the MLM head says about the first held-out examples, as text and as a table if a logger takes one.

    It listens to the head during the validation pass, so it costs no other pass and works on sharded models.

    Args:
        num_examples: Examples to show.
        top_k: Guesses to show for each masked token.
        num_masks: Masked tokens to show of each example.
        head: Name of the objective's MaskedLMHead.
    """

    def __init__(self, num_examples: int = 4, top_k: int = 3, num_masks: int = 4, head: str = "mlm_head") -> None:
        self.num_examples = num_examples
        self.top_k = top_k
        self.num_masks = num_masks
        self.head = head
        self._scores: Tensor | None = None
        self._listener: RemovableHandle | None = None

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *args: Any) -> None:
        """Listen to the head during the first batch, if the objective has it."""
        head = getattr(pl_module.objective, self.head, None)
        if batch_idx == 0 and trainer.is_global_zero and head is not None:
            self._listener = head.register_forward_hook(self._keep)

    def _keep(self, module: MaskedLMHead, inputs: tuple[Tensor, ...], output: object) -> None:
        hidden, token_table, _ = inputs
        self._scores = module.scores(hidden, token_table)

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: list[PackedBatch],
        batch_idx: int,
        *args: Any,
    ) -> None:
        """Write the table of the first batch."""
        if self._listener is None:
            return
        self._listener.remove()
        scores, self._listener, self._scores = self._scores, None, None
        assert scores is not None
        rows = self._rows(trainer.global_step, batch[-1], scores.float(), trainer.datamodule.tokenizer)
        for _, sentence, truth, guesses in rows:
            log.info("%s\n    truth: %s\n    model: %s", sentence, truth, guesses)
        for logger in trainer.loggers:
            if hasattr(logger, "log_table"):
                logger.log_table("guesses", columns=COLUMNS, data=rows, step=trainer.global_step)

    def _rows(self, step: int, batch: PackedBatch, scores: Tensor, tokenizer: Tokenizer) -> list[list[Any]]:
        """Return one row per example; positions and scores are in the order of the batch."""
        mlm = batch.targets[MLM]
        ends, positions = batch.tokens.cu_seqlens.tolist(), mlm.positions.tolist()
        ids, labels = batch.tokens.input_ids.tolist(), mlm.labels.tolist()
        mask = special_tokens(tokenizer).mask  # predictions that show a random or the true token are left out
        rows: list[list[Any]] = []
        for example in range(min(self.num_examples, batch.num_examples)):
            begin, end = ends[example], ends[example + 1]
            masked = [i for i in range(mlm.count) if begin <= positions[i] < end and ids[positions[i]] == mask]
            shown = masked[: self.num_masks]
            truth = ", ".join(_token(labels[i], tokenizer) for i in shown)
            guesses = "; ".join(self._best(scores[i], tokenizer) for i in shown)
            rows.append([step, sentence(ids[begin:end], tokenizer), truth, guesses])
        return rows

    def _best(self, scores: Tensor, tokenizer: Tokenizer) -> str:
        probabilities, ids = torch.softmax(scores, dim=-1).topk(self.top_k)
        pairs = zip(ids.tolist(), probabilities.tolist(), strict=True)
        return " ".join(f"{_token(i, tokenizer)} {probability:.0%}" for i, probability in pairs)


def sentence(ids: list[int], tokenizer: Tokenizer) -> str:
    """Return token ids as readable text: pieces joined to words, special tokens kept."""
    text = " ".join(_token(i, tokenizer) for i in ids)
    return text.replace(" ##", "")


def _token(number: int, tokenizer: Tokenizer) -> str:
    return printable(tokenizer.id_to_token(number) or "?")
