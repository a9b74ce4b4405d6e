"""What a run starts from: its newest checkpoint, a named checkpoint, the weights of another model, or nothing."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import (
    Pretrained,
    check_whole,
    is_whole,
    latest_checkpoint,
    read_about,
)
from bert_lightning.checkpoints.saved_state import (
    PAYLOAD_KEY,
    check_progress,
    check_tensors,
    saved_external_inputs,
    saved_objective,
    stream_position,
)
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.objective import Objective
from bert_lightning.objectives.teacher import TEACHER
from bert_lightning.settings.changed_settings import Change
from bert_lightning.settings.config import is_first_process
from bert_lightning.settings.run_folder import RunFolder, step_of
from bert_lightning.training.training_data import TrainingData
from bert_lightning.training.vocabulary_rows import with_rows_of
from data_pipeline.untrusted.typed_fields import build, checked

log = logging.getLogger(__name__)
OF_TOKENIZER = ("pad_token_id",)
"""Fields of the encoder's sizes that no computation reads once there are weights; older runs have 0 for all."""


def goes_back(resume: str | None, folder: RunFolder, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a run begins from a checkpoint that the user has named.

    It does so once: what torchrun or SLURM starts again with the same command goes on from the newest checkpoint.

    Args:
        resume: "auto" for the newest checkpoint of the run, the path of a checkpoint, or None.
        folder: The folder of the run.
        environment: The variables that torchrun and SLURM set.
    """
    if resume is None or resume == "auto":
        return False
    branch = folder.branch()
    return branch is None or not branch.is_gone_on_with(_in_folder(Path(resume), folder), environment)


def find_checkpoint(resume: str | None, folder: RunFolder) -> Path | None:
    """Return the checkpoint to continue from, None for a new run.

    Args:
        resume: "auto" for the newest checkpoint of the run, the path of a checkpoint, or None.
        folder: The folder of the run.

    Raises:
        ValueError: if a new run would overwrite an older one, or the named checkpoint does not exist.
    """
    if resume is not None and goes_back(resume, folder):
        if not Path(resume).exists():
            raise ValueError(f"resume={resume} does not exist; give a checkpoint, or resume=auto for the newest")
        check_whole(Path(resume))
        return _in_folder(Path(resume), folder)
    if resume is not None:
        newest = latest_checkpoint(folder.path) or _origin_elsewhere(folder)
        if newest is None and is_first_process() and folder.metrics.exists():
            log.warning(
                "%s holds metrics but no whole checkpoint: the run begins again, its metrics are replaced", folder.path
            )
        return newest
    if is_first_process() and folder.holds_a_run():
        raise ValueError(f"{folder.path} holds a run; resume=auto continues it, another run_name starts a new one")
    return None


def _in_folder(checkpoint: Path, folder: RunFolder) -> Path:
    """Return a checkpoint under one name, whatever way leads to it: as the run's folder has it, or absolute."""
    return folder.checkpoints / checkpoint.resolve().name if folder.holds(checkpoint) else checkpoint.absolute()


def _origin_elsewhere(folder: RunFolder) -> Path | None:
    """Return the checkpoint of another run that this one, which has saved none yet, began from; None if there is none.

    Raises:
        ValueError: if that checkpoint is damaged.
    """
    branch = folder.branch()
    origin = Path(branch.origin) if branch is not None and branch.origin else None
    if origin is None or folder.holds(origin) or not origin.exists():
        return None
    check_whole(origin)
    return origin


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """The checkpoint that a run goes on from.

    Attributes:
        checkpoint: The checkpoint, a file or a folder.
        step: Its step.
        settings: The settings that it was made with; empty if it does not say.
    """

    checkpoint: Path
    step: int
    settings: Mapping[str, Any]


def was_overtaken(start: StartingPoint | None, resume: str | None, folder: RunFolder) -> bool:
    """Return whether another process has gone on in a folder since this one has chosen what it starts from.

    Args:
        start: What it starts from.
        resume: The setting.
        folder: The folder, which this process holds by now.
    """
    if resume is None:
        return folder.holds_a_run()
    if goes_back(resume, folder):
        return False
    last = start.step if start is not None and folder.holds(start.checkpoint) else -1
    return any(is_whole(path) for path in folder.saved() if step_of(path) > last)


def has_ended(start: StartingPoint | None, folder: RunFolder, max_steps: int) -> bool:
    """Return whether nothing is left to do: all steps are made, and what follows the last one is done as well.

    A process may have been killed in between. The last checkpoint of another run is not gone on from.

    Args:
        start: What the run starts from.
        folder: Its folder.
        max_steps: Steps of the whole run.
    """
    if start is None or start.step < max_steps:
        return False
    return folder.has_ended(max_steps) or not folder.holds(start.checkpoint)


def check_resume(checkpoint: Path, objective: Objective, data: TrainingData, max_steps: int) -> StartingPoint:
    """Refuse to continue a checkpoint of another model or stream, or one that is past the end, before a file changes.

    Args:
        checkpoint: The checkpoint, a file or a folder.
        objective: The objective that the settings describe.
        data: Streams that the settings describe.
        max_steps: Steps of the whole run.

    Raises:
        ValueError: naming what the checkpoint has and what the settings say.
    """
    where = f"checkpoint={checkpoint}"
    about = read_about(checkpoint)
    check_progress(about, where)
    config = objective.main_encoder().config
    model = build(EncoderConfig, about[PAYLOAD_KEY]["model"], where, "model")
    for name in config.differences(model):
        if name not in OF_TOKENIZER:
            raise ValueError(
                f"{checkpoint} has model.{name}={getattr(model, name)}, the settings say {getattr(config, name)}"
            )
    if (trained := saved_objective(about, where)) not in (None, objective.name):
        raise ValueError(
            f"{checkpoint} was trained with objective={trained}, the settings say {objective.name}; "
            f"a new run with init_from={checkpoint} takes its weights"
        )
    saved, given = saved_external_inputs(about, where), objective.external_inputs()
    for name in sorted({*saved, *given}):
        if name == TEACHER and name not in saved:  # older checkpoints do not name it
            continue
        read, asked = (each.get(name, f"no {name}") for each in (saved, given))
        if read != asked:
            raise ValueError(f"{checkpoint} was trained with {read}; the settings say {asked}")
    check_tensors(about, checkpoint, objective.state_dict())
    if about["global_step"] > max_steps:
        raise ValueError(f"{checkpoint} is at step {about['global_step']}, past trainer.max_steps={max_steps}")
    data.check_state(stream_position(about))
    settings = checked(about[PAYLOAD_KEY].get("config", {}), dict[str, object], where, "config")
    return StartingPoint(checkpoint, about["global_step"], settings)


def say_finished(start: StartingPoint, folder: RunFolder, max_steps: int, changes: Sequence[Change]) -> None:
    """Say on the first rank, and in the log of the run if there is one, that nothing is left to train.

    Args:
        start: The last checkpoint of the run.
        folder: Folder of the run.
        max_steps: Steps of the whole run.
        changes: Settings that are not those of the last checkpoint, and change nothing any more.
    """
    if is_first_process():
        with folder.logged() if folder.path.is_dir() else nullcontext():
            log.info(
                "the run is finished: %s is at step %d of trainer.max_steps=%d; a larger trainer.max_steps trains on",
                start.checkpoint,
                start.step,
                max_steps,
            )
            for change in changes:
                log.info("%s: no effect on a finished run", change)


def start_from(objective: Objective, pretrained: Pretrained, tokenizer: Tokenizer) -> None:
    """Take the weights of another model; what it lacks keeps its new weights, and what the objective lacks is left out.

    A causal model may begin one that sees both sides, and the other way about: their weights are the same. The rows of
    tokens are taken by token, so the vocabularies may differ: see `vocabulary_rows`.

    Args:
        objective: Receives the weights.
        pretrained: The other model.
        tokenizer: Tokenizer of the prepared data.

    Raises:
        ValueError: if sizes differ, or the vocabularies have little in common.
    """
    config, given = objective.main_encoder().config, pretrained.config
    for name in config.differences(given):
        if name not in ("vocab_size", "is_causal", *OF_TOKENIZER):
            raise ValueError(f"model.{name}={getattr(config, name)}, but init_from has {getattr(given, name)}")
    ours = objective.state_dict()
    state = with_rows_of(pretrained.state, ours, tokenizer, pretrained.tokenizer())
    for name in sorted(ours.keys() & state.keys()):
        if state[name].shape != ours[name].shape:
            raise ValueError(
                f"init_from has {name} of {tuple(state[name].shape)}, the settings say {tuple(ours[name].shape)}"
            )
    loaded = objective.load_state_dict(state, strict=False)
    if loaded.missing_keys:
        log.info("init_from has no %s; they begin anew", _modules(loaded.missing_keys))
    if loaded.unexpected_keys:
        log.info("init_from has %s, which this objective does not use", _modules(loaded.unexpected_keys))


def _modules(tensors: list[str]) -> str:
    """Return the modules of tensors, as text."""
    return ", ".join(sorted({name.rpartition(".")[0] for name in tensors}))
