"""A reader of the paths between what a question and a choice mention, after KagNet (Lin et al., 2019, section 4).

Concepts of a choice's graph pass messages along its links, an LSTM reads each path link by link, and the statement, the
vector that the encoder has of question and choice, attends to the paths:

    h_i <- GELU(W h_i + mean over links (j, r, i) of U (h_j + e_r))
    p   =  LSTM over the links (i, r, j) of the path, each [h_i; e_r; h_j]
    g   =  sum over paths of softmax(Q s . p / sqrt(size)) p

KagNet passes messages without relations, and attends within pairs of concepts before it attends to the pairs; its
vectors of concepts were trained on the graph before, and here they begin at random. The composition h_j + e_r is one of
CompGCN (Vashishth et al., 2020). A choice without a path gets g = 0.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_pipeline.knowledge.choice_graphs import GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS
from data_pipeline.knowledge.paths import PathSearch
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch

ROUNDS = 2
"""How often messages are passed."""
_MOST = {"num_concepts": 1 << 26, "num_relations": 1 << 25, "size": 1 << 14}


@dataclass(frozen=True, slots=True)
class GraphReading:
    """The graph that a model reads, and how.

    Attributes:
        sha256: Hash of the graph.
        num_concepts: Concepts of the graph.
        num_relations: Relations of the graph.
        size: Size of the vectors of concepts, relations and paths.
        search: Which paths are looked for.
    """

    sha256: str
    num_concepts: int
    num_relations: int
    size: int
    search: PathSearch

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"task.graph: {name} must be from 1 to {most}; got {getattr(self, name)}")

    @staticmethod
    def in_words(reading: "GraphReading | None") -> str:
        """Return what a model reads beside the texts, as errors say it."""
        if reading is None:
            return "no knowledge graph"
        settings = {"size": reading.size, **asdict(reading.search)}
        return f"the graph {reading.sha256[:12]} with " + ", ".join(f"{name}={each}" for name, each in settings.items())


class MessagePassing(nn.Module):
    """One round of messages along links.

    Args:
        size: Size of the vectors.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.kept = nn.Linear(size, size)
        self.sent = nn.Linear(size, size, bias=False)

    def forward(self, concepts: Tensor, begins: Tensor, relations: Tensor, ends: Tensor, is_link: Tensor) -> Tensor:
        """Return new vectors of concepts, (concepts, size).

        Args:
            concepts: Their vectors before, (concepts, size).
            begins: The concept that each link leads from, (links,).
            relations: Vector of the relation of each link, (links, size).
            ends: The concept that each link leads to, (links,).
            is_link: False for filler, (links,).
        """
        messages = self.sent(concepts[begins] + relations) * is_link[:, None]
        counts = concepts.new_zeros(len(concepts)).index_add(0, ends, is_link.to(concepts.dtype))
        received = torch.zeros_like(concepts).index_add(0, ends, messages) / counts.clamp(min=1)[:, None]
        return F.gelu(self.kept(concepts) + received)


class GraphReader(nn.Module):
    """Read the graphs of choices, packed one after another without padding; computed in fp32.

    Args:
        reading: Sizes of the graph and of the vectors.
        statement_size: Size of the vector of a question with a choice.
    """

    def __init__(self, reading: GraphReading, statement_size: int) -> None:
        super().__init__()
        self.size, self.max_hops = reading.size, reading.search.max_hops
        self.concepts = nn.Embedding(reading.num_concepts, reading.size)
        self.relations = nn.Embedding(2 * reading.num_relations, reading.size)
        self.rounds = nn.Sequential(*(MessagePassing(reading.size) for _ in range(ROUNDS)))
        self.cell = nn.LSTMCell(3 * reading.size, reading.size)
        self.query = nn.Linear(statement_size, reading.size, bias=False)

    def forward(self, statements: Tensor, batch: PackedBatch) -> Tensor:
        """Return the vector g of each choice, (choices, size).

        Args:
            statements: The vector of each choice with its question, (choices, statement size); choice i is sequence i.
            batch: The batch, with the targets of `ChoiceGraphs`.
        """
        with torch.autocast(statements.device.type, enabled=False):
            links, first_links = self._links(batch)
            choices, rows, is_path = _rows(batch, GRAPH_PATHS, self.max_hops)
            paths = self._paths(links, rows, first_links(choices))
            scores = (self.query(statements.float())[choices] * paths).sum(-1) / math.sqrt(self.size)  # (paths,)
            shares = segment_softmax(scores, choices, is_path, len(statements))
            return paths.new_zeros(len(statements), self.size).index_add(0, choices, shares[:, None] * paths)

    def _links(self, batch: PackedBatch) -> tuple[Tensor, "_FirstRows"]:
        """Return what the LSTM reads of each link, (links, 3 size), and where the links of each choice begin."""
        choices, ids, is_concept = _rows(batch, GRAPH_CONCEPTS, 1)
        first_concepts = _FirstRows(choices, is_concept)
        choices, rows, is_link = _rows(batch, GRAPH_LINKS, 3)
        first, (begins, labels, ends) = first_concepts(choices), rows.clamp(min=0).unbind(1)  # each (links,)
        begins, ends, relations = begins + first, ends + first, self.relations(labels)
        concepts = self.concepts(ids.clamp(min=0).squeeze(1))  # (concepts, size)
        for one_round in self.rounds:
            concepts = one_round(concepts, begins, relations, ends, is_link)
        read = torch.cat([concepts[begins], relations, concepts[ends]], 1)  # (links, 3 size)
        return read, _FirstRows(choices, is_link)

    def _paths(self, links: Tensor, rows: Tensor, first: Tensor) -> Tensor:
        """Return the state of the LSTM at the last link of each path, (paths, size).

        Args:
            links: What is read of each link, (links, 3 size).
            rows: Links of each path, counted from the first of its choice, `NO_LABEL` after its end, (paths, hops).
            first: The first link of the choice of each path, (paths,).
        """
        state = links.new_zeros(len(rows), self.size), links.new_zeros(len(rows), self.size)
        for link in rows.unbind(1):
            goes_on = (link != NO_LABEL)[:, None]
            after = self.cell(links[first + link.clamp(min=0)], state)
            state = torch.where(goes_on, after[0], state[0]), torch.where(goes_on, after[1], state[1])
        return state[0]


def _rows(batch: PackedBatch, name: str, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the choice of each row of a target, (rows,), its labels, (rows, width), and whether it is no filler."""
    target = batch.targets[name]
    labels = target.labels.long().view(-1, width)
    choices = torch.searchsorted(batch.tokens.cu_seqlens, target.positions, right=True) - 1
    return choices, labels, labels[:, 0] != NO_LABEL


class _FirstRows:
    """Where the rows of each choice begin among those of a target.

    Args:
        choices: The choice of each row, ascending but for filler, (rows,).
        is_real: False for filler, which comes last, (rows,).
    """

    def __init__(self, choices: Tensor, is_real: Tensor) -> None:
        self._choices = torch.where(is_real, choices, torch.iinfo(choices.dtype).max)

    def __call__(self, choices: Tensor) -> Tensor:
        """Return the first row of choices, in the shape of `choices`."""
        return torch.searchsorted(self._choices, choices)


def segment_softmax(scores: Tensor, segments: Tensor, is_real: Tensor, num_segments: int) -> Tensor:
    """Return the softmax of scores among those of the same segment, 0 for filler, (rows,).

    Args:
        scores: (rows,).
        segments: The segment of each row, (rows,).
        is_real: False for filler, (rows,).
        num_segments: Number of segments.
    """
    scores = scores.masked_fill(~is_real, -torch.inf)
    highest = scores.new_full((num_segments,), -torch.inf).scatter_reduce(0, segments, scores.detach(), "amax")
    powers = torch.where(is_real, (scores - highest[segments]), 0.0).exp() * is_real
    sums = scores.new_zeros(num_segments).index_add(0, segments, powers)
    return powers / torch.where(is_real, sums[segments], 1.0)
