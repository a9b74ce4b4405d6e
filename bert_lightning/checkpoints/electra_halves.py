"""The two halves of an ELECTRA, each a model by itself: the discriminator, and the generator with the embeddings."""

from collections.abc import Mapping

from torch import Tensor

from bert_lightning.checkpoints.tensor_checks import TRAINING_ONLY, generator_width, has_any, reads_text
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.generator import generator_config

GENERATOR_FOLDER = "generator"
"""Folder inside an exported ELECTRA that its generator is in."""
_TIED = tuple(f"encoder.embeddings.{module}." for module in ("token", "position", "segment", "norm"))


def discriminator_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model without those of its training alone: a generator, what reads entities."""
    kept = {name for name in state if reads_text(name) and not any(has_any([name], each) for each in TRAINING_ONLY)}
    return {name: tensor for name, tensor in state.items() if name in kept}


def generator_half(
    state: Mapping[str, Tensor], config: EncoderConfig
) -> tuple[EncoderConfig, dict[str, Tensor]] | None:
    """Return sizes and tensors of the generator as a masked language model; None if there is no generator.

    Args:
        state: The tensors of an objective, by name.
        config: Sizes of the discriminator.
    """
    width = generator_width(state)
    if width is None:
        return None
    half = {name: tensor for name, tensor in state.items() if name.startswith(_TIED)}
    for name, tensor in state.items():
        if has_any([name], "generator"):
            half[name.replace("generator.", "encoder.", 1)] = tensor
        if has_any([name], "generator_head"):
            half[name.replace("generator_head.", "mlm_head.", 1)] = tensor
    return generator_config(config, width), half
