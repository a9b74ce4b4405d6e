"""Questions over texts: the model writes an answer, and the metrics are those of SQuAD.

A prompt is the text, "Q:" with the question, and "A:", as GPT-2 was asked (Radford et al., 2019, section 3.5) and GPT-3
with solved questions before it (Brown et al., 2020, section 3.6). The answer is the line that the model writes, token
by token, each time the likeliest one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bert_lightning.finetuning.answering import AnsweringTask
from bert_lightning.finetuning.squad_metrics import metrics_by_answer, metrics_v1, normalized, score_v1, score_v2
from bert_lightning.finetuning.task import TRAIN
from bert_lightning.inference.continuing import Continuer
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.prompting.asking import Prompting
from bert_lightning.inference.prompting.prompts import NO_ANSWER, WORDINGS, Asked, Wording, filled, read_template
from bert_lightning.settings.progress_bars import counted
from data_pipeline.tasks.task_records import Question

_FIELDS = ("context", "question")


def written_means(task: AnsweringTask, split: str, prompting: Prompting, model: LoadedModel) -> dict[str, float]:
    """Return exact match and F1 for each number of shots, the number of questions, and of prompts that were cut.

    A prompt that is too long for the model loses its beginning, so solved questions vanish before the question does.

    Args:
        task: A task of questions over texts.
        split: Name of the split that is scored.
        prompting: How it is asked.
        model: A causal model.

    Raises:
        ValueError: naming the setting, or the file and the entry, at fault.
    """
    go_on = Continuer(model)
    splits = task.questions()
    labeled = [name for name, questions in splits.items() if all(map(_is_solved, questions))]
    prompting.check(split, labeled, len(splits[TRAIN]))
    wording = _wording(task, prompting)
    if prompting.normalize != Prompting().normalize:
        raise ValueError(
            f"prompting.normalize={prompting.normalize} compares listed answers, but those of task={task.name} are "
            f"written; leave it at {Prompting().normalize}"
        )
    questions = [splits[split][row] for row in prompting.rows(len(splits[split]))]
    asked, solved = ([_asked(each, wording) for each in some] for some in (questions, splits[TRAIN]))
    room = go_on.room(task.max_answer_length, "task.max_answer_length")
    means: dict[str, float] = {}
    for shots in prompting.shots:
        prompts = [go_on.prompt(prompt) for prompt in prompting.prompts(asked, solved, shots)]
        lines = [
            go_on.line(_end(each, room), task.max_answer_length) for each in counted(prompts, "asking", len(asked))
        ]
        means |= {f"{shots}_shots_{name}": value for name, value in _metrics(questions, lines, wording).items()}
        means |= {f"{shots}_shots_cut": sum(len(prompt) > room for prompt in prompts)}
    return means | {"examples": len(questions)}


def _end(prompt: Sequence[int], room: int) -> list[int]:
    """Return a prompt, [CLS] first; one that is too long loses what follows [CLS]."""
    return [prompt[0], *prompt[max(1, len(prompt) - room + 1) :]]


def _is_solved(question: Question) -> bool:
    return question.is_impossible or bool(question.answers)


def _asked(question: Question, wording: Wording) -> Asked:
    values = {"context": question.context, "question": question.question}
    right = wording.answers[NO_ANSWER] if question.is_impossible else question.answers[0].text
    return Asked(filled(wording.template, values), (right,), 0)


def _wording(task: AnsweringTask, prompting: Prompting) -> Wording:
    wording = WORDINGS["squad_v2" if task.may_be_impossible else "squad"]
    if prompting.template is not None:
        wording = replace(wording, template=read_template(prompting.template, _FIELDS, "prompting.template"))
    if prompting.answers is not None:
        if set(prompting.answers) != set(wording.answers) or not all(map(normalized, prompting.answers.values())):
            known = f"{{{NO_ANSWER}: <text>}}" if wording.answers else "null, because every question has an answer"
            raise ValueError(f"prompting.answers must be {known} for task={task.name}; got {prompting.answers}")
        wording = replace(wording, answers=prompting.answers)
    return wording


def _metrics(questions: Sequence[Question], lines: Sequence[str], wording: Wording) -> Mapping[str, float]:
    """Return the metrics of SQuAD; the text that stands for no answer is none."""
    none = wording.answers.get(NO_ANSWER)
    if none is None:
        return metrics_v1(score_v1(questions, lines))
    answers = ["" if normalized(line) == normalized(none) else line for line in lines]
    return metrics_by_answer(score_v2(questions, answers))
