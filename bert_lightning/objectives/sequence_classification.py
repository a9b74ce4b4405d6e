"""A label for each text or pair of texts, read from [CLS] through BERT's pooler (Devlin et al., 2019, section 4.1).

ModernBERT has a dense layer with a LayerNorm in place of the pooler (Warner et al., 2024). A causal encoder has seen
the whole text at its last token alone, which the classifier then reads without a pooler (Radford et al., 2018, section
3.2).

The three classes differ in what a label is: one class, a number, or several classes. They are the three problem types
of transformers' BertForSequenceClassification, and have its losses.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import Pooler, PredictionHead
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.objective import Quantity
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tasks.encoded import LABELS


class SequenceHead(TaskObjective):
    """Pooler, dropout and classifier on the hidden state of one token; a subclass gives `sums` and sets `quantities`.

    An encoder without biases has a `PredictionHead` in place of the pooler. A causal encoder has neither, and its
    classifier no bias.

    Args:
        config: Sizes of the encoder.
        num_labels: Scores of a text.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.

    Attributes:
        reads_both_orders: Whether each text is a pair that two successive sequences hold, in either order.
    """

    readers: tuple[str, ...] = ("pooler.dense",)
    score_rows = LABELS
    reads_both_orders = False

    def __init__(
        self,
        config: EncoderConfig,
        num_labels: int,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
    ) -> None:
        super().__init__(Encoder(config, attention))
        is_bert = not config.is_causal and not config.has_prediction_heads
        self.pooler = Pooler(config) if is_bert else nn.Identity()
        self.head = PredictionHead(config) if config.has_prediction_heads else nn.Identity()
        self.dropout = Dropout(config.hidden_dropout_prob if classifier_dropout is None else classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, num_labels, bias=not config.is_causal)
        if config.is_causal:
            self.readers = ("classifier",)
        elif config.has_prediction_heads:
            self.readers = ("head.dense",)
        initialize(self.classifier, config)

    def features(self, batch: PackedBatch) -> Tensor:
        """Return what the classifier reads, before its dropout, (rows, hidden)."""
        return self.head(self.pooler(self.hidden(batch.tokens, batch.targets[LABELS].positions)))

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return scores, (rows, labels); the last layer runs on the tokens that are read alone.

        Both sequences of a pair in both orders get the sum of the scores, which is the score of the sum of their hidden
        states (Radford et al., 2018, section 3.3): the classifier has no bias.
        """
        scores = self.classifier(self.dropout(self.features(batch)))
        if not self.reads_both_orders:
            return scores
        return scores.view(-1, 2, scores.shape[-1]).sum(1).repeat_interleave(2, 0)


class SequenceClassification(SequenceHead):
    """One class for each text.

    Args:
        config: Sizes of the encoder.
        num_labels: Number of classes.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
        class_weights: Factor of the loss of each class, (classes,); None weighs all classes the same.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        config: EncoderConfig,
        num_labels: int,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(config, num_labels, attention, classifier_dropout)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.quantities = {
            "label_loss": Quantity(LABELS, loss_weight=1.0, title="cross-entropy", unit="nats"),
            "label_accuracy": Quantity(LABELS, short_name="accuracy"),
        }

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the cross-entropy in fp32 and the number of right answers, summed over texts that have a label."""
        scores, labels = scores.float(), batch.targets[LABELS].labels.long()
        right = (scores.detach().argmax(-1) == labels).sum()
        loss = F.cross_entropy(scores, labels, self.class_weights, ignore_index=NO_LABEL, reduction="sum")
        return {"label_loss": loss, "label_accuracy": right}


class SequenceRegression(SequenceHead):
    """A number for each text or pair, such as a similarity; labels are the bits of float32.

    Args:
        config: Sizes of the encoder.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
    ) -> None:
        super().__init__(config, 1, attention, classifier_dropout)
        self.quantities = {"squared_error": Quantity(LABELS, loss_weight=1.0, title="squared error", unit="squared")}

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the squared error in fp32, summed over texts that have a label."""
        labels = batch.targets[LABELS].labels
        is_labeled = labels != NO_LABEL
        wanted = torch.where(is_labeled, labels.view(torch.float32), 0.0)
        errors = torch.where(is_labeled, scores.float().squeeze(-1) - wanted, 0.0)
        return {"squared_error": errors.square().sum()}

    def soft_sum(self, scores: Tensor, taught: Tensor, batch: PackedBatch, temperature: float) -> Tensor:
        """Return the squared difference from a teacher's numbers; a temperature has no meaning for them."""
        differences = (scores.float() - taught.float()).square().squeeze(-1)  # (texts,)
        return torch.where(batch.targets[LABELS].labels != NO_LABEL, differences, 0.0).sum()


class MultiLabelClassification(SequenceHead):
    """Several classes for each text, or none: each class is a question by itself. Labels are 0 and 1.

    Args:
        config: Sizes of the encoder.
        num_labels: Number of classes.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
        class_weights: Factor of the loss of each class, (classes,); None weighs all classes the same.
    """

    class_weights: Tensor

    def __init__(
        self,
        config: EncoderConfig,
        num_labels: int,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(config, num_labels, attention, classifier_dropout)
        weights = torch.tensor([1.0] * num_labels if class_weights is None else class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.quantities = {
            "label_loss": Quantity(LABELS, loss_weight=1.0, title="binary cross-entropy", unit="nats"),
            "label_accuracy": Quantity(LABELS, short_name="accuracy"),
        }

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return loss in fp32 and share of right answers, means over the classes, summed over texts with labels."""
        scores = scores.float()
        labels = batch.targets[LABELS].labels.view(scores.shape)  # (texts, labels)
        is_labeled = labels != NO_LABEL
        wanted = torch.where(is_labeled, labels, 0).to(scores.dtype)
        losses = F.binary_cross_entropy_with_logits(scores, wanted, self.class_weights, reduction="none")
        right = (scores.detach() > 0) == (wanted > 0.5)
        return {
            "label_loss": torch.where(is_labeled, losses, 0.0).mean(1).sum(),
            "label_accuracy": (right & is_labeled).float().mean(1).sum(),
        }

    def soft_sum(self, scores: Tensor, taught: Tensor, batch: PackedBatch, temperature: float) -> Tensor:
        """Return the binary cross-entropy with a teacher's probabilities, a mean over classes, times temperature^2."""
        is_labeled = batch.targets[LABELS].labels.view(scores.shape) != NO_LABEL
        said, wanted = scores.float() / temperature, (taught.float() / temperature).sigmoid()  # (texts, labels)
        losses = F.binary_cross_entropy_with_logits(said, wanted, reduction="none") * temperature**2
        return torch.where(is_labeled, losses, 0.0).mean(1).sum()
