"""The score of a fine-tuned model on sentences with a tag for each word, by the metrics of fine-tuning."""

from itertools import chain

from bert_lightning.finetuning.entity_metrics import check_entity_tags, entity_metrics
from bert_lightning.inference.encoded_scores import score_encoded
from bert_lightning.inference.labeled_file import LabeledFile, example_length
from bert_lightning.inference.loading import LoadedModel
from data_pipeline.tasks.encoded import LABELS
from data_pipeline.tasks.tables import TABLE_SUFFIXES
from data_pipeline.tasks.tagged import read_conll, read_conllu, read_tagged_table
from data_pipeline.tasks.tagged_words import encode_tagged
from data_pipeline.tasks.task_records import TaggedSentence

CONLLU = ".conllu"


def tag_means(file: LabeledFile, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the accuracy over words, and precision, recall and F1 over entities if the tags are those of entities.

    Args:
        file: CoNLL-U, a table with lists of words and tags, or under any other ending columns as in CoNLL.
        model: A model with a head for token classification.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault, such as a tag that the model does not know.
    """
    head = model.pretrained.head
    assert head is not None
    sentences = _read(file)
    encoded = encode_tagged(model.tokenizer, sentences, head.labels, example_length(model))
    best = iter(score_encoded(encoded, encoded.targets[LABELS], model, batch_tokens).argmax(axis=1).tolist())
    predicted = [[head.labels[next(best)] for _ in sentence.words] for sentence in sentences]
    right = [sentence.tags or () for sentence in sentences]
    pairs = list(zip(chain.from_iterable(predicted), chain.from_iterable(right), strict=True))
    means = {"accuracy": sum(one == other for one, other in pairs) / len(pairs)}
    if _are_of_entities(head.labels):
        means |= entity_metrics(predicted, right)
    return means | {"words": len(pairs), "examples": len(sentences)}


def _read(file: LabeledFile) -> list[TaggedSentence]:
    suffix, column = file.path.suffix, file.tag_column
    if suffix in TABLE_SUFFIXES:
        return read_tagged_table(file.path, file.words, file.tags, group="labeled.")
    if suffix == CONLLU:
        return read_conllu(file.path, "upos" if column is None else str(column), group="labeled.")
    if isinstance(column, str):
        raise ValueError(f"labeled.tag_column must be the number of a column of {file.path}; got {column}")
    return read_conll(file.path, file.word_column, -1 if column is None else column, group="labeled.")


def _are_of_entities(tags: list[str]) -> bool:
    try:
        check_entity_tags(tags, "the model")
    except ValueError:
        return False
    return True
