"""What a fine-tuned model begins with: the encoder of a checkpoint, what is trained of the head, a new classifier."""

from collections.abc import Collection, Mapping

from torch import Tensor

from bert_lightning.checkpoints.checkpoint import Pretrained
from bert_lightning.checkpoints.task_head import PREDICTION_HEAD
from bert_lightning.checkpoints.tensor_checks import has_any
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.untrusted.typed_fields import listed
from data_pipeline.whole_numbers import number_of

_POOLER = "pooler"


def trained_parts(objective: TaskObjective) -> list[str]:
    """Return the parts of a task's head that a checkpoint may have: the pooler, or ModernBERT's prediction head."""
    return [part for part in (_POOLER, PREDICTION_HEAD) if has_any(objective.state_dict(), part)]


def check_reinit_layers(pretrained: Pretrained, reinit_layers: int) -> None:
    """Raise a ValueError if there are fewer layers, or they share weights, so that none can begin anew by itself."""
    num_layers, shared = pretrained.config.num_hidden_layers, pretrained.config.shared_parameters
    if not 0 <= reinit_layers <= num_layers:
        raise ValueError(
            f"reinit_layers must be from 0 to the {number_of(num_layers, 'layer')} of the encoder; got {reinit_layers}"
        )
    if reinit_layers and shared != "none":
        raise ValueError(
            f"reinit_layers={reinit_layers} gives layers new weights, but those of the encoder have "
            f"model.shared_parameters={shared}; take reinit_layers=0"
        )


def starting_state(pretrained: Pretrained, parts: Collection[str], reinit_layers: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that a task begins with, by the names of the task's objective.

    Args:
        pretrained: The checkpoint.
        parts: Parts of the head that begin with what the checkpoint has, of those that `trained_parts` names.
        reinit_layers: Layers to leave out from the top, and these parts with them: they begin anew, which steadies the
            fine-tuning of large models on small sets (Zhang et al., 2021, section 5).

    Raises:
        ValueError: if there are fewer layers, or they share weights, so that none can begin anew by itself.
    """
    check_reinit_layers(pretrained, reinit_layers)
    num_layers = pretrained.config.num_hidden_layers
    left_out = tuple(f"layers.{layer}." for layer in range(num_layers - reinit_layers, num_layers))
    encoder = {name: each for name, each in pretrained.state_of("encoder").items() if not name.startswith(left_out)}
    states = {"encoder": encoder}
    if not reinit_layers:
        found = {_POOLER: pretrained.pooler, PREDICTION_HEAD: pretrained.prediction_head}
        states |= {part: found[part]() for part in parts}
    return {f"{part}.{name}": each for part, state in states.items() for name, each in state.items()}


def begin_with(objective: TaskObjective, state: Mapping[str, Tensor]) -> None:
    """Give an objective the tensors that it begins with; the others keep their new weights."""
    loaded = objective.load_state_dict(dict(state), strict=False)
    assert not loaded.unexpected_keys, loaded.unexpected_keys


def said_of_start(objective: TaskObjective, state: Mapping[str, Tensor], pretrained: Pretrained) -> list[str]:
    """Return what a user should know of the weights that a task begins with, one line each."""
    new = sorted({name.rpartition(".")[0] for name in objective.state_dict() if name not in state})
    lines = [f"these begin with new weights: {listed(new)}"]
    if any(name.startswith("pooler.") for name in new) and not pretrained.pooler():
        lines.append("the checkpoint has no trained pooler; the task trains a new one")
    if layers := pretrained.fusing_layers:
        lines.append(f"the task reads text alone; layers that read entities in training: {listed(map(str, layers))}")
    if pretrained.head is not None:
        labels = f" with the labels {listed(pretrained.head.labels)}" if pretrained.head.labels else ""
        lines.append(f"the checkpoint has a head for {pretrained.head.kind}{labels}, whose last layer is not used")
    return lines
