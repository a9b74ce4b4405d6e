"""Choices by texts and graph: the texts alone decide without a path; what a checkpoint says of such a head."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bert_lightning.checkpoints.checkpoint import HEAD
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import check_state
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.graph_reader import GraphReading
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.objectives.graph_choice import GraphChoice
from bert_lightning.objectives.multiple_choice import MultipleChoice
from data_pipeline.knowledge.choice_graphs import GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS
from data_pipeline.knowledge.paths import PathSearch
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tasks.encoded import LABELS, EncodedTargets
from data_pipeline.untrusted.typed_fields import checked
from tests.support.task_batches import CONFIG, encoded, first_rows, packed

READING = GraphReading("0" * 64, num_concepts=5, num_relations=2, size=8, search=PathSearch(max_hops=2))
CAUSAL = replace(CONFIG, is_causal=True)


def rows(labels: list[int], counts: list[int]) -> EncodedTargets:
    offsets = np.cumsum([0, *counts])
    return EncodedTargets(np.zeros(offsets[-1], np.int32), np.array(labels, np.int32), offsets)


def one_graph() -> PackedBatch:
    """Two questions of three choices, of which the second of the first question has a path."""
    counts = [0, 1, 0, 0, 0, 0]
    targets = {
        LABELS: first_rows([2, NO_LABEL, NO_LABEL, 1, NO_LABEL, NO_LABEL]),
        GRAPH_CONCEPTS: rows([4, 1], [0, 2, 0, 0, 0, 0]),
        GRAPH_LINKS: rows([0, 1, 1, 1, 3, 0], [0, 2, 0, 0, 0, 0]),
        GRAPH_PATHS: rows([0, NO_LABEL], counts),
    }
    return packed(encoded(targets, sequences_per_example=3))


def test_a_choice_without_a_path_is_scored_by_its_texts() -> None:
    torch.manual_seed(0)
    model = GraphChoice(CONFIG, 3, READING).eval()
    plain = MultipleChoice(CONFIG, 3).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    batch = one_graph()
    difference = (model.scores(batch) - plain.scores(batch)).squeeze(1)
    assert difference.nonzero().tolist() == [[1]]


@pytest.mark.parametrize("config", [CONFIG, CAUSAL], ids=["both sides", "causal"])
@pytest.mark.parametrize("reading", [LayerReading(), LayerReading([1, 2])], ids=["last layer", "two layers"])
def test_a_checkpoint_tells_the_head_with_its_graph(config: EncoderConfig, reading: LayerReading) -> None:
    head = TaskHead("multiple_choice", reading=reading, extract="last" if config.is_causal else "first", graph=READING)
    assert checked(head.as_dict(), TaskHead, "x.ckpt", HEAD) == head
    model = GraphChoice(config, 3, READING)
    model.read_layers(reading)
    assert model.scores(one_graph()).shape[1] == 1
    state = model.state_dict()
    check_state(state, config, "x.ckpt", head)
    with pytest.raises(
        ValueError, match=r"x\.ckpt has .*graph_reader.*, which a head for multiple_choice does not have"
    ):
        check_state(state, config, "x.ckpt", replace(head, graph=None))
    with pytest.raises(ValueError, match=r"x\.ckpt lacks graph_classifier\.weight"):
        check_state({name: each for name, each in state.items() if "graph_cl" not in name}, config, "x.ckpt", head)
    with pytest.raises(
        ValueError, match=r"graph_reader\.concepts\.weight is \(5, 8\), the configuration in x.ckpt says"
    ):
        check_state(state, config, "x.ckpt", replace(head, graph=replace(READING, num_concepts=6)))


def test_heads_that_cannot_be_are_refused() -> None:
    head = TaskHead("multiple_choice", graph=READING)
    hostile = head.as_dict() | {"graph": {**head.as_dict()["graph"], "num_concepts": 1 << 50}}
    with pytest.raises(ValueError, match="num_concepts must be from 1 to"):
        checked(hostile, TaskHead, "x.ckpt", HEAD)
    with pytest.raises(ValueError, match="a head for token_classification reads no graph"):
        TaskHead("token_classification", ["a"], graph=READING)
    assert "graph" not in TaskHead("multiple_choice").as_dict()
