"""The head that fine-tuning put on an encoder: its kind, its labels by name, and how config.json tells both.

Labels have names, never bare numbers: a model that says 1 is of use only to those who know which label that was.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.graph_reader import GraphReader, GraphReading
from bert_lightning.models.layer_reading import LayerReading
from data_pipeline.tasks.encoded import BOTH_ORDERS, FIRST, LAST
from data_pipeline.untrusted.typed_fields import listed, shown
from data_pipeline.whole_numbers import number_of

POOLER, CLASSIFIER, QA_OUTPUTS = "pooler.dense", "classifier", "qa_outputs"
PREDICTION_HEAD, HEAD_DENSE, HEAD_NORM = "head", "head.dense", "head.norm"
"""What stands before the last layer of a head if the encoder has no biases, in place of a pooler or of nothing."""
GRAPH_READER, GRAPH_CLASSIFIER = "graph_reader", "graph_classifier"
SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION = "sequence_classification", "token_classification"
MULTIPLE_CHOICE, QUESTION_ANSWERING = "multiple_choice", "question_answering"
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
"""What transformers calls one label a text, any number of labels a text, and a number a text."""


@dataclass(frozen=True, slots=True)
class HeadKind:
    """A kind of head.

    Attributes:
        modules: Linear layers of BERT's head, in our names; the last one gives the scores.
        outputs: Scores that the last layer gives for a hidden state; None: one for each label.
        extra: A layer of one output that a model may have besides, and that no class of transformers has.
        extracts: Tokens that heads of the kind may read; `FIRST` of a head for single tokens says nothing.
    """

    modules: tuple[str, ...]
    outputs: int | None = None
    extra: str | None = None
    extracts: tuple[str, ...] = (FIRST,)


KINDS = {
    SEQUENCE_CLASSIFICATION: HeadKind((POOLER, CLASSIFIER), extracts=(FIRST, LAST, BOTH_ORDERS)),
    TOKEN_CLASSIFICATION: HeadKind((CLASSIFIER,)),
    MULTIPLE_CHOICE: HeadKind((POOLER, CLASSIFIER), outputs=1, extracts=(FIRST, LAST)),
    QUESTION_ANSWERING: HeadKind((QA_OUTPUTS,), outputs=2, extra="answerability"),
}


@dataclass(frozen=True, slots=True)
class TaskHead:
    """A head and what its scores mean.

    Attributes:
        kind: One of `KINDS`.
        labels: Names of the labels, in the order of the scores; none for kinds whose scores are not of labels.
        problem_type: One of `PROBLEM_TYPES` for sequence classification, None for other kinds.
        reading: The hidden states that the head reads.
        extract: The tokens that a head for whole texts reads: `FIRST`, or `LAST` or `BOTH_ORDERS` of a causal encoder.
            Such a head is the classifier alone, without a bias, as in GPT (Radford et al., 2018, section 3.2).
        graph: The knowledge graph that a head for multiple choice reads beside the texts; None for none.
    """

    kind: str
    labels: list[str] = field(default_factory=list)
    problem_type: str | None = None
    reading: LayerReading = field(default_factory=LayerReading)
    extract: str = FIRST
    graph: GraphReading | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of a head must be one of {', '.join(KINDS)}; got {shown(self.kind)}")
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise ValueError(f"labels must have different names; {listed(map(shown, twice))} is there more than once")
        if bool(self.labels) != (KINDS[self.kind].outputs is None):
            raise ValueError(f"a head for {self.kind} has {number_of(len(self.labels), 'label')}")
        known = PROBLEM_TYPES if self.kind == SEQUENCE_CLASSIFICATION else (None,)
        if self.problem_type not in known:
            raise ValueError(f"problem_type of {self.kind} must be one of {known}; got {shown(self.problem_type)}")
        read = KINDS[self.kind].extracts
        if self.extract not in read:
            raise ValueError(f"extract of {self.kind} must be one of {', '.join(read)}; got {shown(self.extract)}")
        if self.graph is not None and self.kind != MULTIPLE_CHOICE:
            raise ValueError(f"a head for {self.kind} reads no graph")

    @property
    def is_causal(self) -> bool:
        """Whether the head reads whole texts at the tokens at which a causal encoder has seen them."""
        return self.extract != FIRST

    def layers(self, config: EncoderConfig) -> tuple[str, ...]:
        """Return the linear layers of the head on an encoder, in our names; the last one gives the scores."""
        usual = KINDS[self.kind].modules
        if config.has_prediction_heads:
            return HEAD_DENSE, usual[-1]
        return (CLASSIFIER,) if self.is_causal else usual

    def modules(self, config: EncoderConfig) -> tuple[str, ...]:
        """Return the modules of the head on an encoder, in our names."""
        norm = (HEAD_NORM,) if config.has_prediction_heads else ()
        return (*self.layers(config), *norm, *self.graph_modules)

    @property
    def graph_modules(self) -> tuple[str, ...]:
        """Modules of the head that read a knowledge graph, in our names."""
        return () if self.graph is None else (GRAPH_READER, GRAPH_CLASSIFIER)

    def shapes(self, config: EncoderConfig) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor that the head has or may have on an encoder, by name."""
        kind, hidden_size, layers = KINDS[self.kind], config.hidden_size, self.layers(config)
        width = self.reading.width(hidden_size)
        rows = dict.fromkeys(layers, hidden_size) | {layers[-1]: kind.outputs or len(self.labels)}
        columns = dict.fromkeys(layers, hidden_size) | {layers[0]: width}
        if kind.extra is not None:
            rows[kind.extra], columns[kind.extra] = 1, columns[layers[-1]]
        shapes: dict[str, tuple[int, ...]] = {f"{HEAD_NORM}.weight": (hidden_size,)} if HEAD_DENSE in layers else {}
        for module, size in rows.items():
            shapes[f"{module}.weight"] = (size, columns[module])
            if not self.is_causal and module != HEAD_DENSE:
                shapes[f"{module}.bias"] = (size,)
        return shapes | self._graph_shapes(width if self.is_causal else hidden_size)

    def _graph_shapes(self, statement_size: int) -> dict[str, tuple[int, ...]]:
        if self.graph is None:
            return {}
        with torch.device("meta"):
            reader = GraphReader(self.graph, statement_size).state_dict()
        shapes = {f"{GRAPH_READER}.{name}": tuple(tensor.shape) for name, tensor in reader.items()}
        return shapes | {f"{GRAPH_CLASSIFIER}.weight": (1, self.graph.size)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint; earlier versions read those of a usual head, on the last layer."""
        usual = {"reading": self.reading.is_last, "extract": not self.is_causal, "graph": self.graph is None}
        return {name: value for name, value in asdict(self).items() if not usual.get(name, False)}

    def extra_tensors(self, names: Collection[str]) -> set[str]:
        """Return those of the names that are of the layer which the class of transformers does not have."""
        return {name for name in names if name.rpartition(".")[0] == KINDS[self.kind].extra}

    def config_fields(self) -> dict[str, Any]:
        """Return what config.json of transformers says about the head."""
        fields: dict[str, Any] = {}
        if self.labels:
            fields["id2label"] = {str(number): label for number, label in enumerate(self.labels)}
            fields["label2id"] = {label: number for number, label in enumerate(self.labels)}
        if self.problem_type is not None:
            fields["problem_type"] = self.problem_type
        return fields
