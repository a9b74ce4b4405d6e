"""The fine-tuned model that a task may learn from: its scores are targets beside the labels, or instead of them."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import Pretrained
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.finetuning.sizes import check_seq_len
from bert_lightning.models.knowledge.graph_reader import GraphReading
from bert_lightning.training.teachers import read_teacher
from data_pipeline.untrusted.typed_fields import listed


@dataclass(frozen=True, slots=True)
class TaskTeacher:
    """A teacher and how much it counts.

    Attributes:
        pretrained: The fine-tuned model.
        weight: Share of the loss that its scores have; the labels have the rest.
        temperature: What the scores of both models are divided by before a softmax.
    """

    pretrained: Pretrained
    weight: float
    temperature: float


def find_teacher(cfg: DictConfig, tokenizer: Tokenizer, head: TaskHead) -> TaskTeacher | None:
    """Return the teacher that the settings name, None if they name none.

    Args:
        cfg: The settings of bert-finetune.
        tokenizer: Tokenizer of the student.
        head: The head of the task.

    Raises:
        ValueError: naming the setting that cannot work, if the teacher is one of another task or vocabulary.
    """
    if cfg.teacher is None:
        return None
    weight = _number(cfg, "teacher_weight")
    if not 0 < weight <= 1:
        raise ValueError(f"teacher_weight must be a number above 0, up to 1; got {cfg.teacher_weight}")
    temperature = _number(cfg, "teacher_temperature")
    if not temperature > 0:
        raise ValueError(f"teacher_temperature must be a number above 0; got {cfg.teacher_temperature}")
    pretrained = read_teacher("teacher", cfg.teacher, tokenizer)
    check_seq_len(cfg.data.seq_len, pretrained.config.max_position_embeddings)
    check_head(cfg.teacher, pretrained.head, head)
    return TaskTeacher(pretrained, weight, temperature)


def _number(cfg: DictConfig, name: str) -> float:
    value: Any = cfg[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {value}")
    return value


def check_head(path: str, given: TaskHead | None, wanted: TaskHead) -> None:
    """Check that the scores of a teacher mean what those of the task mean.

    Args:
        path: The teacher, as it was typed.
        given: Head of the teacher; None if it has none.
        wanted: Head of the task.

    Raises:
        ValueError: naming what differs.
    """
    if given is None:
        raise ValueError(f"teacher={path} has no head of a task; give a model that bert-finetune has trained")
    if (given.kind, given.problem_type) != (wanted.kind, wanted.problem_type):
        kinds = [" ".join(filter(None, (each.kind, each.problem_type))) for each in (given, wanted)]
        raise ValueError(f"teacher={path} has a head for {kinds[0]}, the task has one for {kinds[1]}")
    if given.extract != wanted.extract:
        raise ValueError(
            f"teacher={path} reads the tokens {given.extract!r}, the model of this task reads {wanted.extract!r}: both "
            "must be causal, or neither"
        )
    if given.labels != wanted.labels:
        raise ValueError(f"teacher={path} has the labels {listed(given.labels)}, the task has {listed(wanted.labels)}")
    if given.graph != wanted.graph:
        graphs = [GraphReading.in_words(each.graph) for each in (given, wanted)]
        raise ValueError(f"teacher={path} reads {graphs[0]}, the model of this task reads {graphs[1]}")
