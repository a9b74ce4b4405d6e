"""trainer.precision=fp8: the encoder's matrix products in 8-bit floats (torchao), the rest as in bf16-mixed.

Weights, gradients and the optimizer's state stay fp32, their names in checkpoints the same. Every tensor is scaled by
its own largest value, found anew each time.
"""

import importlib.util
import logging
from itertools import chain

import torch
from torch import nn

from bert_lightning.execution.sharding import blocks_of

log = logging.getLogger(__name__)
FIRST_CAPABILITY = (8, 9)
MULTIPLE = 16
"""The kernels take factors whose sizes are multiples of it."""


def check_float8(accelerator: str, token_multiple: int, name: str = "trainer.precision") -> None:
    """Check that hardware, packages and shapes allow 8-bit floats.

    Args:
        accelerator: "gpu" or "cpu".
        token_multiple: Number of which the token counts of all micro-batches are multiples.
        name: Setting that asks for fp8.

    Raises:
        ValueError: names what is missing.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ValueError(f"{name}=fp8 needs torchao: pip install 'bert-lightning[fp8]'; or take bf16-mixed")
    if accelerator != "gpu":
        raise ValueError(f"{name}=fp8 needs a GPU that multiplies 8-bit floats, not accelerator={accelerator}")
    if torch.cuda.get_device_capability() < FIRST_CAPABILITY:
        raise ValueError(f"{name}=fp8, but {torch.cuda.get_device_name()} has no 8-bit floats; take bf16-mixed")
    if token_multiple % MULTIPLE:
        raise ValueError(
            f"{name}=fp8 needs micro-batches of a multiple of {MULTIPLE} tokens, these are of {token_multiple}; make "
            "data.micro_batch_size times data.seq_len at least 1024"
        )


def quieten_torchao() -> None:
    """Silence the warnings of the import of torchao, on kernels for other hardware and on deprecated calls."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def to_float8(objective: nn.Module, emulate: bool = False) -> None:
    """Swap the linear layers of all blocks in place; of the last block, which runs on chosen rows, attention's alone.

    Layers with a size that is no multiple of 16 stay as they are, which the log says.

    Args:
        objective: An objective that is not yet compiled or sharded.
        emulate: Round as the kernels do and multiply in the precision of the inputs, on any device.

    Raises:
        ValueError: if all layers stay as they are.
    """
    quieten_torchao()
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    *blocks, last = blocks_of(objective)
    parts = [*blocks, last.get_submodule("attention")]
    layers = [each for each in chain.from_iterable(part.modules() for part in parts) if isinstance(each, nn.Linear)]
    odd = sorted({size for each in layers for size in (each.in_features, each.out_features) if size % MULTIPLE})
    said = f"trainer.precision=fp8 takes layers whose sizes are multiples of {MULTIPLE}"
    if not any(map(_fits, layers)):
        raise ValueError(
            f"{said}, but every one of the encoder has a size of {', '.join(map(str, odd))}; take bf16-mixed"
        )
    if odd:
        log.info("%s: those with a size of %s stay in bf16", said, ", ".join(map(str, odd)))
    for part in parts:
        convert_to_float8_training(
            part, config=Float8LinearConfig(emulate=emulate), module_filter_fn=lambda module, _: _fits(module)
        )


def _fits(layer: nn.Module) -> bool:
    """Return whether the kernels take a layer."""
    return isinstance(layer, nn.Linear) and not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)
