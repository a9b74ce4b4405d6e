"""Questions that a user asks, over texts or with choices, and what a fine-tuned model says to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bert_lightning.finetuning.split_sources import TEST, OneSplit
from bert_lightning.finetuning.squad_answers import n_best_entries
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.model_tasks import answering_task, choosing_task, window_settings
from bert_lightning.inference.task_means import prepared, split_scores
from data_pipeline.tasks.choices import read_any_choices
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.tables import named_by
from data_pipeline.tasks.task_records import ChoiceQuestion, Question

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
    return read_any_choices(Path(path), column, choices_column, None, settings)


def answer_predictions(
    questions: list[Question],
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
    task = answering_task(OneSplit(TEST, questions), model, seq_len)
    split = prepared(task, model, seq_len)[TEST]
    answers = task.answers(split, split_scores(task, split, model, batch_tokens))
    for question, answer in zip(questions, answers, strict=True):
        said = answer.text(threshold)
        best = n_best_entries(answer, window_settings(model).n_best_size, may_be_none=False)[0]
        probability = {"probability": best["probability"]} if said else {}
        yield {"id": question.identifier, "prediction": said, **probability, "null_odds": answer.null_odds}


def choice_predictions(
    questions: list[ChoiceQuestion],
    model: LoadedModel,
    batch_tokens: int,
    graph: str | None = None,
    seq_len: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the index of the choice that is chosen for each question, the choice, and the probabilities of all.

    Args:
        questions: The questions.
        model: A model with a head for multiple choice.
        batch_tokens: Most tokens of a batch.
        graph: File of the knowledge graph that the model reads; None: that of its fine-tuning.
        seq_len: Most tokens of a text with a choice, longer ones are cut; None: as in the fine-tuning.
    """
    task = choosing_task(OneSplit(TEST, questions), model, graph)
    split = prepared(task, model, seq_len)[TEST]
    lines = task.predictions(split, split_scores(task, split, model, batch_tokens))
    for question, line in zip(questions, lines, strict=True):
        yield {
            "id": question.identifier,
            "prediction": line["prediction"],
            "choice": question.choices[line["prediction"]],
            "probabilities": torch.tensor(line["scores"]).softmax(-1).tolist(),
        }
