"""Questions with choices for a fine-tuned model: their files, its scores of the choices, and how often it is right."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_lightning.inference.encoded_scores import score_encoded
from bert_lightning.inference.labeled_file import LabeledFile, example_length
from bert_lightning.inference.loading import LoadedModel
from data_pipeline.tasks.choice_pairs import encode_choices
from data_pipeline.tasks.choices import read_choices, read_codah, read_swag
from data_pipeline.tasks.encoded import LABELS
from data_pipeline.tasks.tables import named_by
from data_pipeline.tasks.task_records import ChoiceQuestion


def choice_means(file: LabeledFile, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the share of questions of which the right choice is chosen.

    Args:
        file: JSON lines or parquet with a list of choices, the CSV of SWAG, or the TSV of CODAH.
        model: A model with a head for multiple choice.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault, such as a question without a label.
    """
    settings = named_by("labeled.", label=file.label, choices=file.choices, text=file.text)
    questions = read_questions(file.path, file.text, file.choices, file.label, settings)
    right = [question.label for question in questions]
    if None in right:
        raise ValueError(f"{questions[right.index(None)].where} has no label to compare with")
    chosen = choice_scores(questions, model, batch_tokens).argmax(axis=1)
    return {"accuracy": (chosen == np.array(right)).mean().item(), "examples": len(questions)}


def read_questions(
    path: Path, text: str, choices: str, label: str | None, settings: Mapping[str, str]
) -> list[ChoiceQuestion]:
    """Return the questions of a file, whose ending says what it is.

    Args:
        path: The CSV of SWAG, the TSV of CODAH, or a table with a list of choices in each row.
        text: Column of the text that the choices share, in a table.
        choices: Column of the choices, in a table.
        label: Column of the index of the right choice, in a table; None reads no labels.
        settings: Settings that name the columns, by column.
    """
    if path.suffix == ".csv":
        return read_swag(path)
    return read_codah(path) if path.suffix == ".tsv" else read_choices(path, text, choices, label, settings)


def choice_scores(
    questions: list[ChoiceQuestion], model: LoadedModel, batch_tokens: int, seq_len: int | None = None
) -> NDArray[np.float32]:
    """Return the scores of all choices, (questions, choices); all questions have the same number of choices.

    Args:
        questions: The questions.
        model: A model with a head for multiple choice.
        batch_tokens: Most tokens of a batch.
        seq_len: Most tokens of a text with a choice, longer ones are cut; None: as in the fine-tuning.
    """
    head = model.pretrained.head
    assert head is not None
    encoded = encode_choices(
        model.tokenizer, questions, example_length(model, seq_len), questions[0].where, head.extract
    )
    return score_encoded(encoded, encoded.targets[LABELS], model, batch_tokens).reshape(len(questions), -1)
