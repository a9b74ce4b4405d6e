"""The begin and the end of an answer inside a text: two scores for each token (Devlin et al., 2019, section 4.2).

A softmax runs over the tokens of one sequence. The labels are indices inside the sequence; [CLS], at 0, stands for no
answer (section 4.3).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import PredictionHead, summed_loss
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.objective import Quantity
from bert_lightning.objectives.soft_targets import soft_losses
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.task_packing import TOKENS
from data_pipeline.tasks.answer_windows import END, START

_LOWEST = -1e30
"""What stands for minus infinity, of which a difference is a number too."""


class QuestionAnswering(TaskObjective):
    """Begin and end of the answer, with the loss of transformers' BertForQuestionAnswering: the mean of the two.

    An encoder without biases has a `PredictionHead` before the scores, as ModernBertForQuestionAnswering does.

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
    """

    readers: tuple[str, ...] = ("qa_outputs",)
    score_rows = TOKENS
    counted_by = START

    def __init__(self, config: EncoderConfig, attention: PackedAttention = looped_attention) -> None:
        super().__init__(Encoder(config, attention))
        self.head = PredictionHead(config) if config.has_prediction_heads else nn.Identity()
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        if config.has_prediction_heads:
            self.readers = ("head.dense",)
        initialize(self.qa_outputs, config)
        self.quantities = {
            "start_loss": Quantity(START, loss_weight=0.5, title="loss of the begin", unit="nats"),
            "end_loss": Quantity(END, loss_weight=0.5, title="loss of the end", unit="nats"),
            "start_accuracy": Quantity(START, short_name="begin"),
            "end_accuracy": Quantity(END, short_name="end"),
        }

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return the scores of each token as begin and as end of the answer, (tokens, 2)."""
        return in_fp32(self.qa_outputs, self.head(self.hidden(batch.tokens)))

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return summed losses and numbers of right answers; sequences whose label is `NO_LABEL` count for nothing."""
        start, end = (batch.targets[name] for name in (START, END))
        rows = scores_by_sequence(scores, batch, start.positions)  # (rows, max_seqlen, scores)
        start_loss, right_start = summed_loss(rows[..., 0], start.labels)
        end_loss, right_end = summed_loss(rows[..., 1], end.labels)
        return {
            "start_loss": start_loss,
            "end_loss": end_loss,
            "start_accuracy": right_start,
            "end_accuracy": right_end,
        }

    def soft_sum(self, scores: Tensor, taught: Tensor, batch: PackedBatch, temperature: float) -> Tensor:
        """Return the divergence from a teacher's scores of begin and end, their mean, summed over sequences."""
        target = batch.targets[START]
        ours, theirs = (
            scores_by_sequence(each[:, :2], batch, target.positions).float().clamp(min=_LOWEST).transpose(1, 2)
            for each in (scores, taught)
        )  # (rows, 2, max_seqlen)
        losses = soft_losses(ours, theirs, temperature).mean(-1)  # (rows,)
        return torch.where(target.labels != NO_LABEL, losses, 0.0).sum()


class AnswerableQuestionAnswering(QuestionAnswering):
    """Besides, a classifier on [CLS] says whether the sequence holds no answer (Clark et al., 2020, ELECTRA's head).

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        answerability_weight: Factor of the classifier's loss; ELECTRA has 0.5.

    Raises:
        ValueError: if the encoder is causal, so that [CLS] has seen nothing.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        answerability_weight: float = 0.5,
    ) -> None:
        if config.is_causal:
            raise ValueError(
                f"task.answerability_weight={answerability_weight} trains a classifier on [CLS], which has seen "
                "nothing with model.is_causal=true; take task.answerability_weight=null"
            )
        super().__init__(config, attention)
        self.answerability = nn.Linear(config.hidden_size, 1)
        if not config.has_prediction_heads:
            self.readers = ("qa_outputs", "answerability")
        initialize(self.answerability, config)
        self.quantities |= {
            "answerability_loss": Quantity(
                START, loss_weight=answerability_weight, title="loss of answerability", unit="nats"
            ),
            "answerability_accuracy": Quantity(START, short_name="answerable"),
        }

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return begin, end and, to be read at [CLS], the logit of no answer for each token, (tokens, 3)."""
        hidden = self.head(self.hidden(batch.tokens))
        return torch.cat([in_fp32(self.qa_outputs, hidden), in_fp32(self.answerability, hidden)], dim=-1)

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the sums of the spans, and those of the classifier."""
        start = batch.targets[START]
        logits = scores[:, 2].index_select(0, start.positions)  # (rows,)
        is_labeled, has_none = start.labels != NO_LABEL, start.labels == 0
        losses = F.binary_cross_entropy_with_logits(logits, has_none.to(logits.dtype), reduction="none")
        right = is_labeled & ((logits.detach() > 0) == has_none)
        return super().sums(scores, batch) | {
            "answerability_loss": torch.where(is_labeled, losses, 0.0).sum(),
            "answerability_accuracy": right.sum(),
        }


def in_fp32(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Return the output of a layer in fp32 whatever autocast says, (tokens, outputs).

    In bf16 the scores of hundreds of spans would have a few dozen values, and equal scores are decided by chance.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return F.linear(hidden.float(), layer.weight.float(), layer.bias.float())


def scores_by_sequence(scores: Tensor, batch: PackedBatch, first: Tensor) -> Tensor:
    """Return the scores of each sequence in a row of its own, minus infinity behind its end.

    Only the scores are laid out like that, a few numbers a token; the encoder has no padding.

    Args:
        scores: Scores of all tokens, (tokens, scores).
        batch: The batch.
        first: Index of the first token of each wanted sequence, (rows,).

    Returns:
        (rows, max_seqlen, scores).
    """
    cu_seqlens = batch.tokens.cu_seqlens
    ends = cu_seqlens.index_select(0, torch.searchsorted(cu_seqlens, first, right=True))  # (rows,)
    index = first[:, None] + torch.arange(batch.tokens.max_seqlen, device=first.device)  # (rows, max_seqlen)
    is_outside = index >= ends[:, None]
    rows = scores[index.masked_fill(is_outside, 0)]  # (rows, max_seqlen, scores)
    return rows.masked_fill(is_outside[..., None], -torch.inf)
