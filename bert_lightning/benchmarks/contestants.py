"""The models that are compared, ours among them.

A contestant turns a packed batch into the inputs of its model, ahead of time. Its steps are whole training steps: copy
to the device, forward, backward, clip, update. All begin with the same weights and have the same optimizer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import to_float8
from bert_lightning.models.attention import attention_of
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.objective import Objective, weighted_loss
from bert_lightning.settings.hardware import device_type
from bert_lightning.training.optim import allocate_gradients, gradient_norm, parameter_groups, prepare_update
from data_pipeline.streams.packed_batch import PackedBatch, pack_buffer, unpack_buffers

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]
MAX_NORM = 1.0


class Contestant:
    """A model with its optimizer.

    Args:
        name: Name in the tables.
        model: The model, on its device.
        make_optimizer: Builds the optimizer of parameter groups.
        is_half_precision: Whether the model trains under bf16 autocast.
        keeps_gradients: Whether gradients are zeroed in place after a step, as recorded graphs need it.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        make_optimizer: MakeOptimizer,
        is_half_precision: bool,
        keeps_gradients: bool = False,
    ) -> None:
        self.name = name
        self.model = model
        self.optimizer = make_optimizer(parameter_groups(model))
        self.is_half_precision = is_half_precision
        self.device = next(model.parameters()).device
        self.keeps_gradients = keeps_gradients
        if keeps_gradients:
            allocate_gradients(model)

    def prepare(self, batch: PackedBatch) -> Any:
        """Return the inputs of a step on the host, in page-locked memory if they will be copied to a GPU."""
        raise NotImplementedError

    def loss(self, inputs: Any) -> Tensor:
        """Return the joint loss, masked tokens and sentence pairs each a mean."""
        raise NotImplementedError

    def clip(self) -> None:
        """Limit the norm of the gradients."""
        raise NotImplementedError

    def step(self, inputs: Any) -> None:
        """Make one whole training step."""
        self.precise_loss(inputs).backward()
        self.clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self.keeps_gradients)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def precise_loss(self, inputs: Any) -> Tensor:
        """Return the joint loss, computed in the contestant's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half_precision):
            return self.loss(inputs)

    @torch.no_grad()
    def evaluate(self, inputs: Any) -> float:
        """Return the joint loss without dropout; nothing is compiled for it."""
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):
            loss = self.precise_loss(inputs).item()
        self.model.train()
        return loss

    def release(self) -> None:
        """Give back the memory of a model that will run no more."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.model.to("meta")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def state_bytes(self) -> int:
        """Return the bytes of weights and optimizer state."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [*self.model.parameters(), *self.model.buffers(), *filter(torch.is_tensor, states)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Ours(Contestant):
    """The objective that bert-pretrain trains, on packed batches."""

    model: Objective

    def prepare(self, batch: PackedBatch) -> PackedBatch:
        """Put the batch into page-locked memory if it will be copied to a GPU."""
        return (
            batch
            if self.device.type == "cpu"
            else unpack_buffers(pack_buffer(batch).pin_memory(), list(batch.targets))[0]
        )

    def loss(self, inputs: PackedBatch) -> Tensor:
        """Divide each sum by its number of predictions, as the trainer does."""
        batch = inputs if self.device.type == "cpu" else inputs.to(self.device, non_blocking=True)
        scales = {name: 1 / max(1, count) for name, count in self.model.counts(batch).items()}
        return weighted_loss(self.model.quantities, self.model(batch), scales)

    def clip(self) -> None:
        """Let the optimizer's kernel scale the gradients."""
        prepare_update(self.optimizer, gradient_norm(self.model.parameters()), MAX_NORM)


@dataclass(frozen=True, slots=True)
class Setting:
    """The facts that all contestants share.

    Attributes:
        name: Name of the model.
        config: Sizes of the encoder.
        make_optimizer: Builds the optimizer of parameter groups.
        accelerator: "cpu" or "gpu".
        make_objective: Builds ours of an encoder config and an attention.
        precision: "32-true", "bf16-mixed" or "fp8"; with "fp8" transformers' models run in bf16-mixed.
        seq_len: Most tokens of an example.
        seed: Seed of the first weights.
        compilation: How ours is compiled; a compiled model of transformers takes the same backend.
    """

    name: str
    config: EncoderConfig
    make_objective: Callable[..., Objective]
    make_optimizer: MakeOptimizer
    accelerator: str
    precision: str
    seq_len: int
    seed: int
    compilation: Compilation = field(default_factory=Compilation)

    @property
    def device(self) -> torch.device:
        """The device all run on."""
        return torch.device(device_type(self.accelerator))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrix products."""
        return torch.float32 if self.precision == "32-true" else torch.bfloat16

    def shapes_only(self) -> Objective:
        """Return the objective without the memory of its weights."""
        with torch.device("meta"):
            return self.make_objective(config=self.config)


def ours(setting: Setting) -> Ours:
    """Build our model, the way bert-pretrain does."""
    torch.manual_seed(setting.seed)
    is_half = setting.dtype == torch.bfloat16
    attention = attention_of(setting.config, setting.device.type, is_half)
    model = setting.make_objective(config=setting.config, attention=attention).to(setting.device)
    if setting.precision == "fp8":
        to_float8(model)
    setting.compilation(model, setting.device.type)
    said = {"fp8": setting.precision == "fp8", "compiled": setting.compilation.applies_to(setting.device.type)}
    name = ", ".join(["ours", *(word for word, holds in said.items() if holds)])
    return Ours(name, model, setting.make_optimizer, is_half, setting.compilation.records(setting.device.type))
