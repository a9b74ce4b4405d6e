"""What a checkpoint says of its model and how far its run had come, checked before anything is built or continued."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.stream_state import StreamState
from data_pipeline.tokenizers.tokenizer_files import check_tokenizer_files
from data_pipeline.untrusted.typed_fields import build, checked, entry, shown, whole_number

PAYLOAD_KEY = "bert_lightning"
"""Key of a checkpoint under which is what is not Lightning's."""
STREAM = "stream"
"""Key of the payload under which the position in the training stream is."""
OBJECTIVE = "objective"
"""Key of the payload under which the name of the objective is."""
EXTERNAL_INPUTS = "read_besides"
"""Key of the payload under which a model tells what was read besides the text, in words, by what it is."""
OBJECTIVE_PREFIX = "objective."
"""What the names of an objective's tensors begin with in a checkpoint."""
_FIRST_OBJECTIVE = "bert_lightning.objectives.MaskedLMWithNSP"
_LOOP = ("loops", "fit_loop")
_IN_LOOPS = (*_LOOP, "state_dict", "combined_loader", 0)
"""Where a checkpoint of version 0.1 keeps the position in the training stream."""
_STEPS = (*_LOOP, "epoch_loop.manual_optimization.optim_step_progress", "total", "completed")
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
_LARGEST_STEP = 10**12
"""Far above any run, and far below where the arithmetic of the stream ends."""


def check_model(payload: object, where: str) -> tuple[EncoderConfig, dict[str, str]]:
    """Return the sizes of the model and the tokenizer's files out of a payload.

    Args:
        payload: What `checkpoint_payload` added to the checkpoint.
        where: The checkpoint, for errors.

    Raises:
        ValueError: naming the field that is absent, of another type, or out of range.
    """
    config = build(EncoderConfig, entry(payload, "model", where=where), where, "model")
    return config, check_tokenizer_files(entry(payload, "tokenizer", where=where), where)


def stream_position(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of the training stream out of the content of a checkpoint.

    Checkpoints of version 0.1 have it in the state of Lightning's loops only. Their format_version is the same, because
    nothing else differs: those versions read newer checkpoints too.

    Raises:
        ValueError: naming the field that is absent, of another type, or out of range, or an unknown version.
    """
    where = "the checkpoint"
    payload = checked(content.get(PAYLOAD_KEY, {}), dict[str, object], where, PAYLOAD_KEY)
    path = (PAYLOAD_KEY, STREAM) if STREAM in payload else _IN_LOOPS
    return StreamState.read(entry(content, *path, where=where), where).as_dict()


def saved_objective(content: Mapping[str, Any], where: str) -> str | None:
    """Return the name of the objective that a checkpoint was trained with, None if it does not tell.

    Older checkpoints tell it by the class in their settings. The one class of version 0.1 had no module of its own.
    """
    payload = checked(content.get(PAYLOAD_KEY, {}), dict[str, object], where, PAYLOAD_KEY)
    if OBJECTIVE in payload:
        return checked(payload[OBJECTIVE], str, where, OBJECTIVE)
    group = checked(payload.get("config", {}), dict[str, object], where, "config").get("objective")
    target = group.get("_target_") if isinstance(group, Mapping) else None
    if not isinstance(target, str):
        return None
    return "mlm_nsp" if target == _FIRST_OBJECTIVE else target.rpartition(".")[0].rpartition(".")[2]


def saved_external_inputs(content: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return what a checkpoint was trained with besides the text, in words, by what it is."""
    payload = checked(content.get(PAYLOAD_KEY, {}), dict[str, object], where, PAYLOAD_KEY)
    return checked(payload.get(EXTERNAL_INPUTS, {}), dict[str, str], where, EXTERNAL_INPUTS)


def check_progress(content: object, where: str) -> None:
    """Check how far a run had come, and the state of its optimizer.

    Args:
        content: A checkpoint file, or what is not sharded of a folder.
        where: The checkpoint, for errors.

    Raises:
        ValueError: naming the field that is absent, of another type, or out of range.
    """
    step = whole_number(entry(content, "global_step", where=where), where, "global_step", most=_LARGEST_STEP)
    whole_number(entry(content, "epoch", where=where), where, "epoch", most=_LARGEST_STEP)
    _check_counters(entry(content, *_LOOP, where=where), where, ".".join(_LOOP))
    if (counted := entry(content, *_STEPS, where=where)) != step:
        raise ValueError(f"{where} has global_step={step}, its loops have counted {shown(counted)}")
    assert isinstance(content, Mapping)
    for name in ("callbacks", "training_metrics"):
        checked(content.get(name, {}), dict[str, dict[str, object]], where, name)
    for number, state in enumerate(checked(content.get("optimizer_states", []), list, where, "optimizer_states")):
        _check_optimizer(state, where, f"optimizer_states[{number}]")


def check_tensors(content: Mapping[str, Any], checkpoint: Path, wanted: Mapping[str, Tensor]) -> None:
    """Check that a checkpoint has the tensors of an objective, before files change; no tensor is read.

    Args:
        content: A checkpoint file, or what is not sharded of a folder.
        checkpoint: The checkpoint.
        wanted: The state of the objective that the settings describe.

    Raises:
        ValueError: naming a tensor that only one of them has, or that has two shapes.
    """
    if checkpoint.is_dir():
        from bert_lightning.checkpoints.plain_checkpoint import saved_tensors  # slow to import, only folders need it

        saved = saved_tensors(checkpoint)
    else:
        saved = {name: tuple(tensor.shape) for name, tensor in content["state_dict"].items()}
    asked = {f"{OBJECTIVE_PREFIX}{name}": tuple(tensor.shape) for name, tensor in wanted.items()}
    for name in sorted({*saved, *asked}):
        if saved.get(name) != asked.get(name):
            has, want = (f"of shape {each[name]}" if name in each else "not at all" for each in (saved, asked))
            own = name.removeprefix(OBJECTIVE_PREFIX)
            raise ValueError(f"{checkpoint} has {own} {has}, an objective of the settings {want}; they are two models")


def check_moments(optimizer: Optimizer) -> None:
    """Check that the moments of an optimizer have the shapes of their parameters, as its fused kernels assume.

    Raises:
        ValueError: naming the moment and both shapes.
    """
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        for name in _MOMENTS:
            moment = optimizer.state.get(parameter, {}).get(name)
            if moment is not None and moment.shape != parameter.shape:
                raise ValueError(
                    f"the checkpoint has {name} of shape {tuple(moment.shape)} for a parameter of shape "
                    f"{tuple(parameter.shape)}"
                )


def _check_counters(value: object, where: str, field: str) -> None:
    """Check that loops hold counters only, but for the state of the training stream."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name != "combined_loader":
                _check_counters(inner, where, f"{field}.{name if isinstance(name, str) else shown(name)}")
    elif type(value) is not bool:
        whole_number(value, where, field, most=_LARGEST_STEP)


def _check_optimizer(state: object, where: str, field: str) -> None:
    """Check that the state of an optimizer is made of tensors, numbers and None, by parameter."""
    moments = checked(entry(state, "state", where=where), dict, where, f"{field}.state")
    for number, values in moments.items():
        for name, value in checked(values, dict[str, object], where, f"{field}.state.{shown(number)}").items():
            if not isinstance(value, Tensor | int | float | None):
                raise ValueError(f"{where} has {field}.{name}={shown(value)}, which must be a tensor or a number")
    for group in checked(entry(state, "param_groups", where=where), list, where, f"{field}.param_groups"):
        checked(entry(group, "params", where=where), list[int], where, f"{field}.params")
