"""One of several choices, told by the texts and by the paths of a knowledge graph between what they mention."""

from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.graph_reader import GraphReader, GraphReading
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.multiple_choice import MultipleChoice
from data_pipeline.streams.packed_batch import PackedBatch


class GraphChoice(MultipleChoice):
    """A score for each choice: that of the texts, and that of the graph, which is 0 for a choice without a path.

    KagNet's score of [s; g], the vectors of texts and graph side by side, is such a sum too (Lin et al., 2019, 4.4).

    Args:
        config: Sizes of the encoder.
        num_choices: Choices of each question.
        reading: The graph, and how it is read.
        attention: How packed sequences attend to themselves.
        classifier_dropout: Probability of dropout before the classifiers; None takes `hidden_dropout_prob`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        num_choices: int,
        reading: GraphReading,
        attention: PackedAttention = looped_attention,
        classifier_dropout: float | None = None,
    ) -> None:
        super().__init__(config, num_choices, attention, classifier_dropout)
        self.name = "multiple_choice"  # with a graph; which one it is, `external_inputs` tells
        self.reading = reading
        self.graph_reader = GraphReader(reading, config.hidden_size)
        self.graph_classifier = nn.Linear(reading.size, 1, bias=False)
        initialize(self.graph_classifier, config)
        if config.is_causal:
            self.readers += ("graph_reader.query",)

    def external_inputs(self) -> dict[str, str]:
        """Return the graph by its hash, and how it is read."""
        return {"knowledge graph": GraphReading.in_words(self.reading)}

    def scores(self, batch: PackedBatch) -> Tensor:
        """Return scores, (rows, 1)."""
        statements = self.features(batch)
        read = self.graph_reader(statements, batch)  # (rows, size)
        return self.classifier(self.dropout(statements)) + self.graph_classifier(self.dropout(read))
