"""The reader of graphs beside loops written from its equations, whatever else is in the batch."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.execution.compilation import Compilation
from bert_lightning.models.knowledge.graph_reader import GraphReader, GraphReading
from data_pipeline.knowledge.choice_graphs import GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS
from data_pipeline.knowledge.paths import PathSearch
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedExamples, EncodedTargets
from tests.support.task_batches import LENGTHS, encoded, first_rows, packed

SIZE, STATEMENT = 6, 5
READING = GraphReading("0" * 64, num_concepts=9, num_relations=2, size=SIZE, search=PathSearch(max_hops=3))
Graph = tuple[list[int], list[tuple[int, int, int]], list[list[int]]]
"""Concepts; links as concept, label and concept; paths as links."""
GRAPHS: list[Graph] = [
    ([4], [(0, 3, 0)], [[0]]),
    ([], [], []),
    ([1, 7, 8], [(0, 0, 1), (1, 2, 0), (1, 1, 2), (2, 3, 1), (0, 1, 1)], [[0, 2], [4, 2], [3, 1, 0], [4]]),
    ([], [], []),
    ([8, 1], [(0, 0, 1), (1, 2, 0)], [[0], [1]]),
    ([], [], []),
]
EMPTY: list[Graph] = [([], [], [])] * len(LENGTHS)


def targets(rows: list[list[list[int]]]) -> EncodedTargets:
    every = [label for each in rows for row in each for label in row]
    counts = np.cumsum([0, *map(len, rows)])
    return EncodedTargets(np.zeros(counts[-1], np.int32), np.array(every, np.int32), counts)


def examples(graphs: list[Graph]) -> EncodedExamples:
    """Two questions of three choices with graphs."""
    filled = [[path + [NO_LABEL] * (3 - len(path)) for path in paths] for *_, paths in graphs]
    return encoded(
        {
            LABELS: first_rows([2, NO_LABEL, NO_LABEL, 1, NO_LABEL, NO_LABEL]),
            GRAPH_CONCEPTS: targets([[[concept] for concept in concepts] for concepts, *_ in graphs]),
            GRAPH_LINKS: targets([[list(link) for link in links] for _, links, _ in graphs]),
            GRAPH_PATHS: targets(filled),
        },
        sequences_per_example=3,
    )


@pytest.fixture
def reader() -> GraphReader:
    torch.manual_seed(0)
    return GraphReader(READING, STATEMENT)


def expected(reader: GraphReader, statement: Tensor, graph: Graph) -> Tensor:
    """The vector of one choice, step by step."""
    ids, links, paths = graph
    concepts = {place: reader.concepts.weight[number] for place, number in enumerate(ids)}
    relation = reader.relations.weight
    for each in reader.rounds:
        after = {}
        for place, vector in concepts.items():
            sent = [F.linear(concepts[j] + relation[r], each.sent.weight) for j, r, i in links if i == place]
            received = sum(sent) / len(sent) if sent else torch.zeros(SIZE)
            after[place] = F.gelu(F.linear(vector, each.kept.weight, each.kept.bias) + received)
        concepts = after
    states = []
    for path in paths:
        hidden, memory = torch.zeros(SIZE), torch.zeros(SIZE)
        for number in path:
            i, r, j = links[number]
            read = torch.cat([concepts[i], relation[r], concepts[j]])
            gates = F.linear(read, reader.cell.weight_ih, reader.cell.bias_ih)
            gates = gates + F.linear(hidden, reader.cell.weight_hh, reader.cell.bias_hh)
            take, forget, new, give = gates.chunk(4)
            memory = forget.sigmoid() * memory + take.sigmoid() * new.tanh()
            hidden = give.sigmoid() * memory.tanh()
        states.append(hidden)
    if not states:
        return torch.zeros(SIZE)
    query = F.linear(statement, reader.query.weight)
    shares = torch.stack([query @ state for state in states]).div(math.sqrt(SIZE)).softmax(0)
    return sum(share * state for share, state in zip(shares, states, strict=True))


def test_every_choice_is_read_as_the_equations_say(reader: GraphReader) -> None:
    """Values and gradients, with filler at the end of the batch."""
    statements = torch.randn(24, STATEMENT)  # as many as the batch has room for
    read = reader(statements, packed(examples(GRAPHS)))
    wanted = torch.stack([expected(reader, each, graph) for each, graph in zip(statements, GRAPHS, strict=False)])
    torch.testing.assert_close(read[:6], wanted)
    assert not read[6:].any()
    direction = torch.randn(6, SIZE)
    gradients = [
        torch.autograd.grad((each * direction).sum(), list(reader.parameters())) for each in (read[:6], wanted)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().sum() > 0


def test_what_else_is_in_the_batch_does_not_matter(reader: GraphReader) -> None:
    every, statements = examples(GRAPHS), torch.randn(24, STATEMENT)
    both = reader(statements, packed(every))
    alone = reader(statements[3:], packed(every.take(np.array([1])), room=1))
    torch.testing.assert_close(both[3:6], alone[:3])


@pytest.mark.parametrize("graphs", [EMPTY, GRAPHS[:3] + EMPTY[:3]], ids=["no graph", "some"])
def test_choices_without_paths_read_nothing_and_every_weight_has_a_gradient(
    reader: GraphReader, graphs: list[Graph]
) -> None:
    """Data parallel training needs gradients, zeros too, of every weight in every batch."""
    batch = packed(examples(graphs).take(np.array([1])))
    read = reader(torch.randn(24, STATEMENT), batch)
    assert read.shape == (24, SIZE)
    assert not read.any()
    read.sum().backward()
    assert all(each.grad is not None and not each.grad.any() for each in reader.parameters())


def test_under_autocast_the_reader_computes_in_fp32(reader: GraphReader) -> None:
    statements, batch = torch.randn(24, STATEMENT), packed(examples(GRAPHS))
    wanted = reader(statements.bfloat16().float(), batch)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(reader(statements.bfloat16(), batch), wanted, atol=0, rtol=0)


@pytest.mark.slow
def test_the_reader_is_one_graph_for_every_number_of_rows(reader: GraphReader) -> None:
    statements, batches = torch.randn(24, STATEMENT), [packed(examples(GRAPHS)), packed(examples(EMPTY))]
    wanted = [reader(statements, batch) for batch in batches]
    Compilation(on_cpu=True, backend="aot_eager")(reader, "cpu")
    for batch, each in zip(batches, wanted, strict=True):
        torch.testing.assert_close(reader(statements, batch), each)


@pytest.mark.parametrize("field", ["num_concepts", "num_relations", "size"])
def test_sizes_that_no_model_has_are_refused(field: str) -> None:
    for value in (0, 1 << 40):
        with pytest.raises(ValueError, match=rf"^task\.graph: {field} must be from 1 to \d+; got {value}"):
            GraphReading(
                **(
                    {"sha256": "", "num_concepts": 1, "num_relations": 1, "size": 1, "search": PathSearch()}
                    | {field: value}
                )
            )
