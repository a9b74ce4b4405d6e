"""Precision, recall and F1 of entities, as conlleval and the package seqeval count them by default.

An entity is right if its words and its type are right. IOB1, IOB2 and IOBES (begin, inside, end, single, outside) need
no setting: an entity ends if the prefixes or the types of its tags say so. The project counts for itself because
seqeval, which the tests compare with, has had no release since 2020.
"""

from collections.abc import Collection, Iterable, Sequence

from data_pipeline.untrusted.typed_fields import shown

OUTSIDE = "O"
Tags = Sequence[str]
Entity = tuple[str, int, int]
"""Type, first word, and the word behind the last."""


def entities(tags: Tags) -> list[Entity]:
    """Return the entities of one sentence.

    >>> entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "S-ORG"])
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5), ('ORG', 5, 6)]
    """
    found = []
    begin, before = 0, (OUTSIDE, "")
    for word, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, kind = tag.partition("-")
        is_new = prefix in "BSO" or before[0] in "ESO" or kind != before[1]
        if is_new and before[0] != OUTSIDE:
            found.append((before[1], begin, word))
        if is_new:
            begin = word
        before = (prefix, kind)
    return found


def check_entity_tags(tags: Collection[str], where: str) -> None:
    """Raise a ValueError if a tag is neither O nor one of B, I, E and S with a type.

    Args:
        tags: The tags.
        where: The file that they are from.
    """
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        if tag != OUTSIDE and not (prefix in {"B", "I", "E", "S"} and dash and kind):
            raise ValueError(
                f"{where} has the tag {shown(tag)}; tags of entities are O, or B-, I-, E- or S- and a type"
            )


def entity_metrics(predicted: Iterable[Tags], right: Iterable[Tags]) -> dict[str, float]:
    """Return precision, recall and F1 over the entities of all sentences; 0 if there is nothing to divide by.

    Args:
        predicted: The predicted tags of each sentence.
        right: The right tags of each sentence.
    """
    num_predicted = num_right = num_both = 0
    for predicted_tags, right_tags in zip(predicted, right, strict=True):
        predicted_entities, right_entities = set(entities(predicted_tags)), set(entities(right_tags))
        num_predicted += len(predicted_entities)
        num_right += len(right_entities)
        num_both += len(predicted_entities & right_entities)
    precision, recall = num_both / max(1, num_predicted), num_both / max(1, num_right)
    return {
        "f1": 2 * num_both / max(1, num_predicted + num_right),
        "precision": precision,
        "recall": recall,
    }
