"""Entities of all tagging schemes, and their metrics beside seqeval."""

import random

import pytest

from bert_lightning.finetuning.entity_metrics import check_entity_tags, entities, entity_metrics

SCHEMES = {"IOB2": "BI", "IOBES": "BIES", "IOB1": "I", "ends": "IE"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("I-PER I-PER B-PER I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4)]),  # IOB1
        ("S-PER B-LOC I-LOC E-LOC", [("PER", 0, 1), ("LOC", 1, 4)]),  # IOBES
        ("B-PER E-PER I-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("B-creative-work I-creative-work", [("creative-work", 0, 2)]),
        ("O I-PER", [("PER", 1, 2)]),  # an entity that begins with I
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),  # a change of type ends an entity
        ("O O", []),
        ("", []),
    ],
)
def test_entities_by_hand(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == expected


def test_metrics_by_hand() -> None:
    """Of three predicted entities one is right, and there are two: P 1/3, R 1/2, F1 2/5."""
    predicted = [["B-PER", "I-PER", "O"], ["B-LOC", "B-LOC"]]
    right = [["B-PER", "I-PER", "O"], ["B-LOC", "I-LOC"]]
    assert entity_metrics(predicted, right) == pytest.approx({"precision": 1 / 3, "recall": 0.5, "f1": 0.4})
    assert entity_metrics([["O"]], [["O"]]) == {"precision": 0, "recall": 0, "f1": 0}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.filterwarnings("ignore:Precision and F-score|Recall and F-score|F-score")
def test_random_sentences_are_counted_as_seqeval_counts_them(scheme: str) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    numbers = random.Random(scheme)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in SCHEMES[scheme] for kind in ("PER", "LOC", "creative-work"))]
    for _ in range(300):
        right = [numbers.choices(tags, k=numbers.randint(1, 8)) for _ in range(3)]
        predicted = [[tag if numbers.random() < 0.6 else numbers.choice(tags) for tag in each] for each in right]
        found = entity_metrics(predicted, right)
        assert found["precision"] == pytest.approx(seqeval.precision_score(right, predicted))
        assert found["recall"] == pytest.approx(seqeval.recall_score(right, predicted))
        assert found["f1"] == pytest.approx(seqeval.f1_score(right, predicted))


@pytest.mark.parametrize("tag", ["NOUN", "B-", "B", "X-PER", "BPER"])
def test_other_tags_are_no_entities(tag: str) -> None:
    check_entity_tags(["O", "B-PER", "S-creative-work"], "x.conll")
    with pytest.raises(ValueError, match=f"^x.conll has the tag '{tag}'; tags of entities are O, or B-"):
        check_entity_tags(["O", tag], "x.conll")
