"""What a run of an ablation has reached: held-out losses on examples that all runs share, and fine-tuned tasks."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from bert_lightning.checkpoints.checkpoint import check_whole
from bert_lightning.inference.held_out_means import held_out_means
from bert_lightning.inference.loading import load_model
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.config import prepared_folder
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.phase_settings import complete_phases
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps.ablation_folder import (
    Measured,
    TaskNote,
    read_measured,
    read_task,
    write_measured,
    write_task,
)
from bert_lightning.sweeps.ablation_settings import AblationSettings
from bert_lightning.sweeps.folder_kinds import kind_of
from bert_lightning.sweeps.point_process import run_process
from bert_lightning.sweeps.variant_points import VariantRun, as_overrides
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.untrusted.typed_fields import checked

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
HELD_OUT = "held_out/"
"""Beginning of the names of metrics on the shared held-out examples; those of tasks begin with the name of the task."""


class VariantScores:
    """Measures runs, and reads what has been measured.

    Args:
        base: Settings of the ablation without the changes of any variant; they decide the held-out examples.
        settings: Settings of the ablation.
        logger: Name of the logger of the runs, which fine-tunings take too.
    """

    def __init__(self, base: DictConfig, settings: AblationSettings, logger: str) -> None:
        self._base = base
        self._settings = settings
        self._logger = logger

    @cached_property
    def _samples(self) -> PretrainingSamples:
        data, held_out = self._base.data, instantiate(self._base.validation)
        return PretrainingSamples(
            prepared_folder(data),
            "validation",
            self._settings.held_out,
            held_out.masking,
            complete_phases(self._base)[-1]["seq_len"],
            held_out.seed,
            shuffle=False,
            exclude_shards=list(data.exclude_shards),
        )

    @cached_property
    def examples(self) -> dict[str, object]:
        """Everything that decides the held-out examples, as JSON has it.

        Raises:
            ValueError: if the prepared folder has no held-out documents, or settings cannot work.
        """
        decisive = self._samples.fingerprint() | {"validation_samples": self._base.data.validation_samples}
        as_json: dict[str, object] = json.loads(json.dumps(decisive))
        return as_json

    def check(self, run: VariantRun) -> None:
        """Raise a ValueError if a run was fine-tuned with other settings than those of the ablation."""
        for name in self._settings.tasks:
            folder = self._task_folder(run, name)
            noted, wanted = read_task(folder), self._note(run, name)
            if noted is not None and noted != wanted and kind_of(folder) is not None:
                raise ValueError(
                    f"hydra.sweeper.tasks.{name}={wanted.settings}, but {folder} was fine-tuned with {noted.settings}"
                    f"{'' if noted.run == wanted.run else ' from other pre-training'}; give the task another name"
                )

    def measure(self, run: VariantRun) -> None:
        """Measure what has not been measured of a run that has come to its end.

        Raises:
            ValueError: if the run cannot be measured.
            PointFailedError: if a fine-tuning has failed.
        """
        run_dir = _run_dir(run)
        is_measured = read_measured(run_dir, run.digest, self.examples) is not None
        not_tuned = [
            name for name in self._settings.tasks if FinetunedFolder(self._task_folder(run, name)).read_scores() is None
        ]
        for newest in RunFolder(run_dir).saved()[-1:] if not is_measured or not_tuned else []:
            check_whole(newest)  # an older one would be taken for it
        if not is_measured:
            data = self._base.data
            model = load_model(run_dir, self._base.trainer.accelerator)
            size, most = data.validation_micro_batch_size, data.validation_samples
            means = {"examples": 0.0}  # a model that predicts no token has tasks alone
            if model.predicts_tokens:
                means = held_out_means(model, self._samples, size, most, min(data.num_workers, 1))
            finite = {name: value for name, value in means.items() if math.isfinite(value)}
            if left_out := sorted(set(means) - set(finite)):
                log.info("%s has no finite %s on the held-out examples", run.point.swept, ", ".join(left_out))
            write_measured(run_dir, Measured(run.digest, self.examples, finite))
        for name in not_tuned:
            self._finetune(run, name)

    def _finetune(self, run: VariantRun, name: str) -> None:
        folder = self._task_folder(run, name)
        if RunFolder(folder).is_held():
            log.info("waiting for the end of a process of an earlier start, which fine-tunes in %s", folder)
            while RunFolder(folder).is_held():
                time.sleep(POLL_SECONDS)
            if FinetunedFolder(folder).read_scores() is not None:
                return
        log.info("%s, seed %d: fine-tuning on %s in %s", run.variant, run.seed, name, folder)
        write_task(folder, self._note(run, name))
        run_process([sys.executable, "-m", "bert_lightning.finetune", *self._finetuning(run, name)])
        if FinetunedFolder(folder).read_scores() is None:
            raise ValueError(f"{folder} was stopped before its end; the same line goes on with it")

    def metrics(self, run: VariantRun) -> dict[str, float]:
        """Return what has been measured of a run, by name; nothing before it was measured."""
        means = read_measured(_run_dir(run), run.digest, self.examples) or {}
        metrics = {f"{HELD_OUT}{name}": value for name, value in means.items()}
        for name in self._settings.tasks:
            folder = FinetunedFolder(self._task_folder(run, name))
            if (scores := folder.read_scores()) is not None:
                of_task = checked(scores.get("metrics"), dict[str, dict[str, object]], str(folder.scores), "metrics")
                metrics |= {
                    f"{name}/{metric}": checked(each.get("mean"), float, str(folder.scores), f"metrics.{metric}.mean")
                    for metric, each in of_task.items()
                }
        return metrics

    def chosen_metrics(self, run: VariantRun) -> list[str]:
        """Return the metrics by which checkpoints are chosen, of the tasks that a run was fine-tuned on."""
        chosen = []
        for name in self._settings.tasks:
            scores = FinetunedFolder(self._task_folder(run, name)).read_scores()
            if scores is not None:
                chosen.append(f"{name}/{scores['chosen_by']}")
        return chosen

    def _note(self, run: VariantRun, name: str) -> TaskNote:
        return TaskNote(run.digest, dict(self._settings.tasks[name]))

    @staticmethod
    def _task_folder(run: VariantRun, name: str) -> Path:
        return _run_dir(run) / "tasks" / name

    def _finetuning(self, run: VariantRun, name: str) -> list[str]:
        """Return the overrides of bert-finetune: one seed, that of the run."""
        assert run.point.settings is not None
        task, trainer = self._settings.tasks[name], run.point.settings.trainer
        ours: Mapping[str, Any] = {
            "checkpoint": str(_run_dir(run).absolute()),
            "run_name": f"{run.point.settings.run_name}/tasks/{name}",
            "output_dir": str(run.point.settings.output_dir),
            "seed": run.seed,
            "resume": "auto",
            "logger": self._logger,
            "trainer.accelerator": trainer.accelerator,
            "trainer.precision": trainer.precision,
        }
        return as_overrides(
            {"task": task["task"], **ours, **{key: value for key, value in task.items() if key != "task"}}
        )


def tokens_read(run_dir: Path) -> int:
    """Return the real tokens that a run has read, 0 if it has not begun."""
    columns = read_columns(RunFolder(run_dir).metrics)
    return int(columns.get("progress/tokens", ([], [0]))[1][-1])


def training_seconds(run_dir: Path) -> float:
    """Return the seconds of a run's steps up to the last one that was logged, without validation."""
    steps, seconds = read_columns(RunFolder(run_dir).metrics).get("throughput/step_seconds", ([], []))
    return sum(each * (step - before) for each, step, before in zip(seconds, steps, [0, *steps], strict=False))


def _run_dir(run: VariantRun) -> Path:
    assert run.point.run_dir is not None
    return run.point.run_dir
