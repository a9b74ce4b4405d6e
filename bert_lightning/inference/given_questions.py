"""Questions that a user asks, over texts or with choices, and what a fine-tuned model says to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bert_lightning.finetuning.squad_answers import n_best_entries
from bert_lightning.inference.labeled_choices import ChoiceScorer, read_questions
from bert_lightning.inference.labeled_questions import answer_all, window_settings
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.text_inputs import chunked
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.tables import named_by
from data_pipeline.tasks.task_records import ChoiceQuestion, Question

AT_A_TIME = 256
"""Questions whose scores are in memory together."""
SQUAD = ".json"


def given_questions(text: str | None, question: str | None, path: str | None) -> list[Question]:
    """Return the question about a text, or those of a file in the format of SQuAD.

    Raises:
        ValueError: if neither or both are given, or the file is no such file.
    """
    if path is None:
        if text is None or question is None:
            raise ValueError("the model answers questions: give text=... and question=..., or input=<file of SQuAD>")
        return [Question("0", str(question), str(text), (), False, "text")]
    if text is not None or question is not None:
        raise ValueError("give either text=... with question=..., or input=<file>")
    if Path(path).suffix != SQUAD:
        raise ValueError(
            f"input={path} must be questions in the format of SQuAD, a {SQUAD}: the model answers questions"
        )
    return read_squad(Path(path))


def given_choices(
    text: str | None, choices: Sequence[str] | None, path: str | None, column: str, choices_column: str
) -> list[ChoiceQuestion]:
    """Return a text with its choices, or the rows of a file.

    Raises:
        ValueError: if neither or both are given, there are fewer than two choices, or the file is no such file.
    """
    if path is None:
        if text is None or choices is None:
            raise ValueError('the model chooses: give text=... and choices="[one,other]", or input=<file>')
        if len(choices) < 2:
            raise ValueError(f"choices must be at least 2 texts; got {list(choices)}")
        return [ChoiceQuestion("0", str(text), tuple(map(str, choices)), None, "text")]
    if text is not None or choices is not None:
        raise ValueError("give either text=... with choices=..., or input=<file>")
    settings = named_by(choices_column=choices_column, column=column)
    return read_questions(Path(path), column, choices_column, None, settings)


def answer_predictions(
    questions: Sequence[Question],
    model: LoadedModel,
    batch_tokens: int,
    threshold: float | None,
    seq_len: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the answer to each question, its probability among the best answers, and the odds of no answer.

    An empty answer has no probability: the odds stand for it.

    Args:
        questions: The questions.
        model: A model with a head for question answering.
        batch_tokens: Most tokens of a batch.
        threshold: Null odds above which there is no answer; None always answers.
        seq_len: Most tokens of a window; None: as in the fine-tuning.
    """
    most = window_settings(model).n_best_size
    for some in chunked(questions, AT_A_TIME):
        for question, answer in zip(some, answer_all(some, model, batch_tokens, seq_len), strict=True):
            said = answer.text(threshold)
            best = n_best_entries(answer, most, may_be_none=False)[0]
            probability = {"probability": best["probability"]} if said else {}
            yield {"id": question.identifier, "prediction": said, **probability, "null_odds": answer.null_odds}


def choice_predictions(questions: Sequence[ChoiceQuestion], score: ChoiceScorer) -> Iterator[dict[str, Any]]:
    """Yield the index of the choice that is chosen for each question, the choice, and the probabilities of all.

    Args:
        questions: The questions.
        score: Scores their choices.
    """
    for some in chunked(questions, AT_A_TIME):
        probabilities = torch.from_numpy(score(some)).softmax(-1)
        for question, each in zip(some, probabilities, strict=True):
            best = int(each.argmax())
            yield {
                "id": question.identifier,
                "prediction": best,
                "choice": question.choices[best],
                "probabilities": each.tolist(),
            }
