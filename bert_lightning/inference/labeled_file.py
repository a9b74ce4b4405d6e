"""A file of examples with their right answers, as `labeled` in the settings of bert-evaluate describes it."""

from dataclasses import dataclass
from pathlib import Path

from bert_lightning.inference.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class LabeledFile:
    """A file and the columns in it; each kind of head knows the columns that it reads.

    Attributes:
        path: The file.
        text: Column of the text.
        text_pair: Column of the second text of a pair; None for single texts.
        label: Column of the label; for choices the index of the right one.
        choices: Column of the choices.
        words: Column of the words of a sentence.
        tags: Column of the tags of the words.
        word_column: Column of the words in a file of columns, from 0.
        tag_column: Column of the tags in a file of columns, from 0, or its name in CoNLL-U; None for the last column,
            in CoNLL-U upos.
        graph: File of the knowledge graph that a model of choices reads; None: that of its fine-tuning.
    """

    path: Path
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    choices: str = "choices"
    words: str = "words"
    tags: str = "tags"
    word_column: int = 0
    tag_column: int | str | None = None
    graph: str | None = None


def example_length(model: LoadedModel, seq_len: int | None = None, usual: int | None = None) -> int:
    """Return the most tokens of an example.

    Args:
        model: The model.
        seq_len: What the user asks for; None: as many as in the fine-tuning, if the checkpoint tells.
        usual: What it is if nobody tells; None: as many as the model takes.

    Raises:
        ValueError: if the model does not take so many.
    """
    most = model.config.max_position_embeddings
    return model.checked_length(seq_len or model.trained_length() or min(usual or most, most))
