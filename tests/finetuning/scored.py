"""A task with a new tiny model: its splits, its scores, and the same weights exported to transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.finetuning.split_scores import score_examples
from bert_lightning.finetuning.task import VALIDATION, Split, Task
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.settings.task_settings import known_settings
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkout import ROOT
from tests.support.models import tiny_encoder

SEQ_LEN = 48


def make_task(name: str, path: Path, **settings: Any) -> Task:
    """The task of conf/task with a path and other settings of its own."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("finetune", [f"task={name}"])
    cfg.task.path = str(path)
    try:
        return instantiate(known_settings(OmegaConf.merge(cfg.task, settings)), _convert_="all")
    except HydraException as error:
        raise error.__cause__ or error from None


@dataclass
class Scored:
    """What a model with random weights says to the validation split of a task."""

    task: Task
    split: Split
    objective: TaskObjective
    scores: ExampleScores

    @property
    def predictions(self) -> list[dict[str, Any]]:
        return list(self.task.predictions(self.split, self.scores))

    @property
    def metrics(self) -> dict[str, float]:
        return self.task.metrics(self.split, self.scores)

    def with_scores(self, values: Any) -> "Scored":
        """The same with other scores."""
        return Scored(self.task, self.split, self.objective, ExampleScores(values, self.scores.cu_rows))


def score(
    task: Task,
    tokenizer: Tokenizer,
    seq_len: int = SEQ_LEN,
    export: Path | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Scored:
    """Score the validation split with a tiny encoder, or one of other sizes; it is exported if a folder is given."""
    split = task.prepare(tokenizer, seq_len)[VALIDATION]
    torch.manual_seed(0)
    config = tiny_encoder(tokenizer.get_vocab_size(), **(sizes or {}))
    objective = task.objective(config, looped_attention, None)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if export is not None:
        export.mkdir()
        write_folder(export, config, objective.state_dict(), tokenizer_files(tokenizer), task.head())
    run = partial(score_examples, device=torch.device("cpu"), is_bf16=False)
    return Scored(task, split, objective, run(objective, split.encoded, 3))
