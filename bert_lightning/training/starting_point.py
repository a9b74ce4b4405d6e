"""What a run starts from: its newest checkpoint, a named checkpoint, the weights of another model, or nothing."""

import logging
from pathlib import Path

from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import (
    PAYLOAD_KEY,
    Pretrained,
    check_whole,
    latest_checkpoint,
    read_about,
    saved_targets,
    stream_position,
)
from bert_lightning.checkpoints.saved_state import check_progress
from bert_lightning.objectives.objective import Objective
from bert_lightning.settings.config import is_first_process
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.datamodules import PretrainingData

log = logging.getLogger(__name__)


def find_checkpoint(resume: str | None, folder: RunFolder) -> Path | None:
    """Return the checkpoint to continue from, None for a new run.

    Args:
        resume: "auto" for the newest checkpoint of the run, the path of a checkpoint, or None.
        folder: The folder of the run.

    Raises:
        ValueError: if a new run would overwrite an older one, or the named checkpoint does not exist.
    """
    if resume == "auto":
        newest = latest_checkpoint(folder.path)
        if newest is None and is_first_process() and folder.metrics.exists():
            log.warning(
                "%s holds metrics but no whole checkpoint: the run begins again, its metrics are replaced", folder.path
            )
        return newest
    if resume is not None:
        if not Path(resume).exists():
            raise ValueError(f"resume={resume} does not exist; give a checkpoint, or resume=auto for the newest")
        check_whole(Path(resume))
        return Path(resume)
    if is_first_process() and folder.holds_a_run():
        raise ValueError(f"{folder.path} holds a run; resume=auto continues it, another run_name starts a new one")
    return None


def check_resume(checkpoint: Path, objective: Objective, data: PretrainingData, max_steps: int) -> None:
    """Refuse to continue a checkpoint of another model or stream, or one that is past the end, before a file changes.

    Args:
        checkpoint: The checkpoint, a file or a folder.
        objective: The objective that the settings describe.
        data: Streams that the settings describe.
        max_steps: Steps of the whole run.

    Raises:
        ValueError: naming what the checkpoint has and what the settings say.
    """
    about = read_about(checkpoint)
    check_progress(about, f"checkpoint={checkpoint}")
    model = about[PAYLOAD_KEY]["model"]
    for name, value in objective.main_encoder().config.as_dict().items():
        if not name.endswith(("_prob", "_range")) and value != model[name]:
            raise ValueError(f"{checkpoint} has model.{name}={model[name]}, the settings say {value}")
    trained, wanted = saved_targets(about, str(checkpoint)), sorted(objective.target_names())
    if trained != wanted:
        raise ValueError(
            f"{checkpoint} was trained with objective={'_'.join(trained)}, the settings say {'_'.join(wanted)}; "
            f"a new run with init_from={checkpoint} takes its weights"
        )
    if about["global_step"] > max_steps:
        raise ValueError(f"{checkpoint} is at step {about['global_step']}, past trainer.max_steps={max_steps}")
    state = stream_position(about)
    data.check_state(state)
    if state["global_batch_size"] != data.global_batch_size:
        log.warning(
            "data.global_batch_size was %d and is %d: the order of the examples stays, the batches differ",
            state["global_batch_size"],
            data.global_batch_size,
        )


def start_from(objective: Objective, pretrained: Pretrained, tokenizer: Tokenizer) -> None:
    """Take the weights of another model; what it lacks keeps its new weights, and what the objective lacks is left out.

    Args:
        objective: Receives the weights.
        pretrained: The other model.
        tokenizer: Tokenizer of the prepared data.

    Raises:
        ValueError: if sizes or vocabularies differ.
    """
    wanted, given = objective.main_encoder().config.as_dict(), pretrained.config.as_dict()
    for name in wanted:
        if not name.endswith(("_prob", "_range")) and wanted[name] != given[name]:
            raise ValueError(f"model.{name}={wanted[name]}, but init_from has {given[name]}")
    if pretrained.tokenizer().get_vocab() != tokenizer.get_vocab():
        raise ValueError("init_from has another vocabulary than the prepared data; prepare with its tokenizer.path")
    loaded = objective.load_state_dict(pretrained.state, strict=False)
    if loaded.missing_keys:
        log.info("init_from has no %s; they begin anew", _modules(loaded.missing_keys))
    if loaded.unexpected_keys:
        log.info("init_from has %s, which this objective does not use", _modules(loaded.unexpected_keys))


def _modules(tensors: list[str]) -> str:
    """Return the modules of tensors, as text."""
    return ", ".join(sorted({name.rpartition(".")[0] for name in tensors}))
