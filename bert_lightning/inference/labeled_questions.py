"""Questions over texts for a fine-tuned model: its answers, and how good they are by SQuAD's metrics."""

from collections.abc import Mapping, Sequence

import numpy as np

from bert_lightning.finetuning.answering import WindowSettings
from bert_lightning.finetuning.squad_answers import AnsweredQuestion, answer_questions
from bert_lightning.finetuning.squad_metrics import metrics_v1, metrics_v2, score_v1, score_v2
from bert_lightning.inference.encoded_scores import score_encoded
from bert_lightning.inference.labeled_file import LabeledFile, example_length
from bert_lightning.inference.loading import LoadedModel
from data_pipeline.tasks.answer_windows import encode_questions
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.task_records import Question

USUAL_LENGTH = 384
"""Most tokens of a window if the model does not say (google-research/bert, run_squad.py)."""

LEAST_TEXT = 4
"""Tokens that a question must leave in a window, of which three are special ones."""


def question_means(file: LabeledFile, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the metrics of SQuAD 1.1, or those of 2.0 if a question has no answer, with the threshold that is best.

    Args:
        file: JSON in the format of SQuAD.
        model: A model with a head for question answering.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the entry at fault, such as a question whose answer is not known.
    """
    questions = read_squad(file.path)
    for question in questions:
        if not question.is_impossible and not question.answers:
            raise ValueError(f"{question.where} has no answer to compare with")
    answers = answer_all(questions, model, batch_tokens)
    texts = [answer.best_text for answer in answers]
    if not any(question.is_impossible for question in questions):
        return metrics_v1(score_v1(questions, texts)) | {"examples": len(questions)}
    odds = np.array([answer.null_odds for answer in answers])
    return metrics_v2(score_v2(questions, texts), odds, None) | {"examples": len(questions)}


def answer_all(
    questions: Sequence[Question], model: LoadedModel, batch_tokens: int, seq_len: int | None = None
) -> list[AnsweredQuestion]:
    """Return the answers to questions.

    Args:
        questions: The questions.
        model: A model with a head for question answering.
        batch_tokens: Most tokens of a batch.
        seq_len: Most tokens of a window; None: as in the fine-tuning.
    """
    settings, seq_len = window_settings(model), example_length(model, seq_len, USUAL_LENGTH)
    leaves_room = settings.max_query_length + LEAST_TEXT <= seq_len
    max_query_length = settings.max_query_length if leaves_room else seq_len // 2
    windows = encode_questions(model.tokenizer, questions, seq_len, settings.doc_stride, max_query_length)
    scores = score_encoded(windows.examples, None, model, batch_tokens)
    return answer_questions(questions, windows, scores, settings.n_best_size, settings.max_answer_length)


def window_settings(model: LoadedModel) -> WindowSettings:
    """Return how texts were read in the fine-tuning; the usual settings if the checkpoint does not tell."""
    task = model.pretrained.settings.get("task")
    known = {name: task.get(name) for name in WindowSettings.__slots__} if isinstance(task, Mapping) else {}
    return WindowSettings(**{name: value for name, value in known.items() if type(value) is int and value > 0})
