"""A tag for each word, read from the word's first piece (Devlin et al., 2019, section 5.3)."""

from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import PredictionHead, summed_loss
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.objective import Quantity
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tasks.encoded import LABELS


class TokenClassification(TaskObjective):
    """A class for each word, with the head and the loss of transformers' BertForTokenClassification.

    An encoder without biases has a `PredictionHead` before the classifier, as ModernBertForTokenClassification does.
    The rows of the targets are the first pieces of words, so that the last layer runs on these alone.

    Args:
        config: Sizes of the encoder.
        num_labels: Number of classes.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
    """

    readers: tuple[str, ...] = ("classifier",)
    score_rows = LABELS

    def __init__(
        self,
        config: EncoderConfig,
        num_labels: int,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
    ) -> None:
        super().__init__(Encoder(config, attention))
        self.dropout = Dropout(config.hidden_dropout_prob if classifier_dropout is None else classifier_dropout)
        self.head = PredictionHead(config) if config.has_prediction_heads else nn.Identity()
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        if config.has_prediction_heads:
            self.readers = ("head.dense",)
        initialize(self.classifier, config)
        self.quantities = {
            "tag_loss": Quantity(LABELS, loss_weight=1.0, title="cross-entropy", unit="nats"),
            "tag_accuracy": Quantity(LABELS, short_name="accuracy"),
        }

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return the scores of the tags of each word, (words, labels)."""
        features = self.head(self.hidden(batch.tokens, batch.targets[LABELS].positions))
        return self.classifier(self.dropout(features))

    def sums(self, scores: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Return the cross-entropy in fp32 and the number of right tags, summed over words that have a tag."""
        loss, right = summed_loss(scores, batch.targets[LABELS].labels)
        return {"tag_loss": loss, "tag_accuracy": right}
