"""One of several choices, each a pair of texts: a softmax over the scores of their [CLS] (Devlin et al., 2019, 4.4)."""

import torch
from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import summed_loss
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.objective import Quantity
from bert_lightning.objectives.sequence_classification import SequenceHead
from bert_lightning.objectives.soft_targets import soft_losses
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tasks.encoded import LABELS


class MultipleChoice(SequenceHead):
    """A score for each choice, with the head and the loss of transformers' BertForMultipleChoice.

    The choices of a question are consecutive rows of the targets, and the first of them has its label.

    Args:
        config: Sizes of the encoder.
        num_choices: Choices of each question.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        num_choices: int,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
    ) -> None:
        super().__init__(config, 1, attention, classifier_dropout)
        self.num_choices = num_choices
        self.quantities = {
            "choice_loss": Quantity(LABELS, loss_weight=1.0, title="cross-entropy", unit="nats"),
            "choice_accuracy": Quantity(LABELS, short_name="accuracy"),
        }

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the cross-entropy over choices in fp32 and the number of right answers, summed over questions."""
        labels = batch.targets[LABELS].labels.view(-1, self.num_choices)[:, 0]  # (questions,)
        loss, right = summed_loss(scores.view(-1, self.num_choices), labels)
        return {"choice_loss": loss, "choice_accuracy": right}

    def soft_sum(self, scores: Tensor, taught: Tensor, batch: PackedBatch, temperature: float) -> Tensor:
        """Return the divergence from a teacher's scores over choices, summed over questions that have a label."""
        is_labeled = batch.targets[LABELS].labels.view(-1, self.num_choices)[:, 0] != NO_LABEL  # (questions,)
        ours, theirs = (each.view(-1, self.num_choices) for each in (scores, taught))
        return torch.where(is_labeled, soft_losses(ours, theirs, temperature), 0.0).sum()
