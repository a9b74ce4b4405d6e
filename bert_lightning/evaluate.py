"""bert-evaluate: what a trained model knows: held-out losses, labels, minimal pairs, cloze questions, worded tasks."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_type_hints

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from bert_lightning.finetuning.answering import AnsweringTask
from bert_lightning.finetuning.task import VALIDATION, Task
from bert_lightning.inference.cloze import cloze_hits
from bert_lightning.inference.held_out_means import held_out_means, trained_pairs
from bert_lightning.inference.labeled_file import LabeledFile
from bert_lightning.inference.loading import LoadedModel, load_model
from bert_lightning.inference.minimal_pairs import preference, score_pairs
from bert_lightning.inference.prompting.asking import Prompting
from bert_lightning.inference.prompting.likeliest_answers import likeliest_means
from bert_lightning.inference.prompting.written_answers import written_means
from bert_lightning.inference.task_means import task_means
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import check_numbers, prepared_folder
from bert_lightning.settings.progress_bars import say_end, stage
from bert_lightning.settings.run_folder import check_file_place, write_whole
from bert_lightning.settings.setting_types import check_types, check_values
from bert_lightning.settings.task_settings import known_settings
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.untrusted.typed_fields import shown
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger("bert_lightning.evaluate")
Scores = dict[str, dict[str, float]]
DECISIVE = (
    *(("data", name) for name in ("seq_len", "validation_samples", "exclude_shards")),
    ("pairs", "_target_"),
    ("validation", "seed"),
)
"""Settings, by group and name, with which other held-out examples are read."""


def evaluate(cfg: DictConfig) -> Scores:
    """Score a model on what the settings name, print the scores, and write them as JSON if asked.

    Returns:
        Scores by what they are of: `held_out`, `labeled`, `minimal_pairs`, `cloze`, and `task` of a fine-tuned model
            or `prompted` of a causal one, if they were asked for.

    Raises:
        ValueError: naming the setting, or the file and the line, that is wrong.
    """
    check_types(OmegaConf.masked_copy(cfg, [name for name in map(str, cfg) if name != "task"]))
    check_values(cfg, split=str, minimal_pairs=str | None, cloze=str | None, output=str | None)
    check_values(cfg.labeled, **get_type_hints(LabeledFile) | {"path": str | None})
    check_values(cfg.prompting, **get_type_hints(Prompting))
    check_whole_number("batch_tokens", cfg.batch_tokens)
    if cfg.output:
        check_file_place(Path(cfg.output))
    questions: dict[str, Callable[[LoadedModel], dict[str, float]]] = {
        "held_out": lambda model: _held_out(cfg, model),
        "labeled": lambda model: _labeled(cfg, model),
        "minimal_pairs": lambda model: preference(score_pairs(Path(cfg.minimal_pairs), model, cfg.batch_tokens)),
        "cloze": lambda model: cloze_hits(Path(cfg.cloze), model, cfg.batch_tokens),
        "task": lambda model: task_means(_task(cfg), cfg.split, model, cfg.batch_tokens),
        "prompted": lambda model: _prompted(cfg, model),
    }
    keys = {
        "data.path": "held_out",
        "labeled.path": "labeled",
        "minimal_pairs": "minimal_pairs",
        "cloze": "cloze",
        "task": "task",
    }
    asked = [name for key, name in keys.items() if OmegaConf.select(cfg, key) is not None]
    if not asked:
        raise ValueError(f"nothing to evaluate: give one of {', '.join(keys)}")
    with stage("reading the checkpoint"):
        model = load_model(cfg.checkpoint, cfg.accelerator)
    if model.pretrained.head is None:
        asked = ["prompted" if name == "task" else name for name in asked]
    if "labeled" not in asked:
        _refuse_unread(cfg, "labeled", LabeledFile(Path()), "labeled.path is not given")
    if "prompted" not in asked:
        _refuse_unread(cfg, "prompting", Prompting(), "no causal model is asked about a task")
    scores = {name: questions[name](model) for name in asked}
    _print(scores)
    if cfg.output:
        write_whole(Path(cfg.output), json.dumps({"checkpoint": str(cfg.checkpoint), **scores}, indent=2) + "\n")
        say_end([("scores", cfg.output)], [])
    return scores


def _refuse_unread(cfg: DictConfig, group: str, usual: LabeledFile | Prompting, reason: str) -> None:
    """Raise a ValueError for the first setting of a group that is not the usual one, because nothing reads it."""
    for name, value in cfg[group].items():
        if name != "path" and value != getattr(usual, str(name)):
            raise ValueError(f"{group}.{name}={value} is not read: {reason}")


def _held_out(cfg: DictConfig, model: LoadedModel) -> dict[str, float]:
    data, held_out = cfg.data, instantiate(cfg.validation)
    check_numbers(data, held_out.seed)
    samples = PretrainingSamples(
        prepared_folder(data),
        cfg.split,
        held_out.pairs or instantiate(cfg.pairs),
        held_out.masking,
        model.checked_length(data.seq_len, "data.seq_len"),
        held_out.seed,
        shuffle=False,
        exclude_shards=list(data.exclude_shards),
    )
    _say_differences(cfg, model)
    for target in set(trained_pairs(model)) - set(samples.target_names):
        log.info("pairs=%s has no %s labels: the pair head is left out", type(samples.pairs).__name__, target)
    workers = min(data.num_workers, 1)
    return held_out_means(model, samples, data.validation_micro_batch_size, data.validation_samples, workers)


def _labeled(cfg: DictConfig, model: LoadedModel) -> dict[str, float]:
    head = model.pretrained.head
    if head is None:
        raise ValueError(f"checkpoint={model.name} has no head of a task; labeled.path needs a fine-tuned model")
    if cfg.labeled.graph is not None and head.graph is None:
        raise ValueError(f"labeled.graph={cfg.labeled.graph}, but checkpoint={model.name} reads no knowledge graph")
    columns = {str(name): value for name, value in cfg.labeled.items() if name != "path"}
    task = LabeledFile(Path(cfg.labeled.path), **columns).task(model)
    return task_means(task, VALIDATION, model, cfg.batch_tokens)


def _task(cfg: DictConfig) -> Task:
    if OmegaConf.select(cfg, "task._target_") is None:
        raise ValueError("task must be the name of a file in conf/task, such as task=sst2")
    task = instantiate(known_settings(cfg.task), _convert_="all")
    assert isinstance(task, Task)
    return task


def _prompted(cfg: DictConfig, model: LoadedModel) -> dict[str, float]:
    task = _task(cfg)
    prompting = Prompting(**OmegaConf.to_container(cfg.prompting))  # type: ignore[arg-type]
    if isinstance(task, AnsweringTask):
        return written_means(task, cfg.split, prompting, model)
    return likeliest_means(task, cfg.split, prompting, model, cfg.batch_tokens)


def _say_differences(cfg: DictConfig, model: LoadedModel) -> None:
    """Say which settings are not those that the model's run validated with, because such losses do not compare."""
    run = model.pretrained.settings
    for group, name in DECISIVE:
        known = run.get(group)
        if isinstance(known, Mapping) and name in known and known[name] != (ours := cfg[group].get(name)):
            log.info("%s.%s is %s here, and was %s in the model's run", group, name, ours, shown(known[name]))


def _print(scores: Scores) -> None:
    table = Table("", "quantity", "value")
    table.columns[2].justify = "right"
    for part, values in scores.items():
        for name, value in values.items():
            number = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
            table.add_row(part.replace("_", " "), name.replace("_", " "), number)
    Console(markup=False, emoji=False).print(table)


main = entry_point("evaluate", evaluate)

if __name__ == "__main__":
    main()
