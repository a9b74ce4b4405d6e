"""Whether tensors that others wrote are those of a model: their names, kinds and shapes, before a model is built."""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from bert_lightning.checkpoints.task_head import PREDICTION_HEAD, TaskHead
from bert_lightning.models.embeddings import Embeddings
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.generator import Generator, generator_config
from bert_lightning.models.heads import MaskedLMHead, ReplacedTokenHead, SentencePairHead
from bert_lightning.models.knowledge.entity_fusion import EntitySide, EntitySizes
from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.untrusted.typed_fields import listed

OUR_TOKEN_TABLE = "encoder.embeddings.token.weight"
HEADS = (
    "mlm_head",
    *(f"{target}_head.{part}" for target in PAIR_LABELS for part in ("pooler", "classifier")),
    "rtd_head",
)
"""Heads of pre-training; a model may come without them."""
GENERATOR = ("generator", "generator_head")
"""Modules of an ELECTRA that are no part of its discriminator."""
PROJECTION = "width_projection"
"""The linear layer that makes the hidden states of a student as wide as its teacher's."""
ENTITY_HEAD = "entity_head"
"""The head that says which entity a mention means."""
TRAINING_ONLY = (*GENERATOR, PROJECTION, ENTITY_HEAD)
"""Modules that no model has after its training."""
_ENTITY_SIDE = re.compile(r"encoder\.layers\.(\d{1,4})\.entity\.")


def shapes(config: EncoderConfig, head: TaskHead | None = None) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of an encoder, of all heads of pre-training, and of a head, by name.

    No memory is taken for any.
    """
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "encoder": Encoder(config),
                "mlm_head": MaskedLMHead(config),
                **{f"{target}_head": SentencePairHead(config) for target in PAIR_LABELS},
                "rtd_head": ReplacedTokenHead(config),
            }
        )
        pretraining = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return pretraining | (head.shapes(config) if head is not None else {})


def generator_shapes(state: Mapping[str, object], config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a generator and its head, by name; {} if the state has none.

    Args:
        state: The tensors of an objective, by name.
        config: Sizes of the discriminator.

    Raises:
        ValueError: if the generator has no width that such a discriminator's generator can have.
    """
    width = generator_width(state)
    if width is None:
        return {}
    narrow = generator_config(config, width)
    with torch.device("meta"):
        model = nn.ModuleDict(
            {"generator": Generator(narrow, Embeddings(config)), "generator_head": MaskedLMHead(narrow)}
        )
        return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def generator_width(state: Mapping[str, object]) -> int | None:
    """Return the width of the generator that a state has, None if there is none."""
    matrix = state.get("generator_head.transform.weight")
    return matrix.shape[-1] if isinstance(matrix, Tensor) and matrix.dim() == 2 else None


def projection_shapes(state: Mapping[str, object], config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of weight and bias of the layer that widens a student's states; {} if the state has none.

    Args:
        state: The tensors of an objective, by name.
        config: Sizes of the student.
    """
    bias = state.get(f"{PROJECTION}.bias")
    if not isinstance(bias, Tensor):
        return {}
    return {f"{PROJECTION}.weight": (bias.numel(), config.hidden_size), f"{PROJECTION}.bias": (bias.numel(),)}


def fusing_layers(names: Iterable[str]) -> list[int]:
    """Return the layers, from 0 and ascending, whose tensors among the names are those of a layer that reads entities.

    >>> fusing_layers(["encoder.layers.3.entity.qkv.weight", "encoder.layers.2.output.weight"])
    [3]
    """
    return sorted({int(match[1]) for match in map(_ENTITY_SIDE.match, names) if match})


def reads_text(name: str) -> bool:
    """Return whether a tensor is one that a model without entities has too."""
    return not _ENTITY_SIDE.match(name)


def fusion_shapes(state: Mapping[str, object], config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that reads or names entities, by name; {} if the state has none.

    Args:
        state: The tensors of an objective, by name.
        config: Sizes of the encoder.
    """
    bias = state.get(f"{ENTITY_HEAD}.projection.bias")
    if not isinstance(bias, Tensor):
        return {}
    size, layers = bias.numel(), [layer for layer in fusing_layers(state) if layer < config.num_hidden_layers]
    found = {f"{ENTITY_HEAD}.projection.weight": (size, config.hidden_size), f"{ENTITY_HEAD}.projection.bias": (size,)}
    for layer in layers:
        with torch.device("meta"):
            side = EntitySide(config, EntitySizes(size, num_heads=1), has_output=layer != layers[-1])
        for name, tensor in side.state_dict().items():
            found[f"encoder.layers.{layer}.entity.{name}"] = tuple(tensor.shape)
    return found


def has_any(names: Iterable[str], head: str) -> bool:
    """Return whether any of the names, of tensors or modules, is one of a head."""
    return any(name == head or name.startswith(f"{head}.") for name in names)


def check_state(state: Mapping[str, Tensor], config: EncoderConfig, where: str, head: TaskHead | None = None) -> None:
    """Check that the tensors of a checkpoint are those of its sizes, before a model of these sizes is built.

    Args:
        state: The tensors of an objective, by name; whole heads may be absent.
        config: The sizes.
        where: The checkpoint, for errors.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: naming the tensors that are missing, unknown, or of another kind or shape.
    """
    expected = shapes(config, head) | generator_shapes(state, config) | projection_shapes(state, config)
    expected |= fusion_shapes(state, config)
    extra = set() if head is None else head.extra_tensors(state)
    model = "the objective" if head is None else f"a head for {head.kind}"
    if head is not None and config.has_prediction_heads and not has_any(state, PREDICTION_HEAD):
        raise ValueError(f"{where} was fine-tuned by an earlier version, with BERT's head; fine-tune the encoder again")
    check_names(where, set(state) - extra, _own_names(expected, state, config, head), model)
    for name, tensor in state.items():
        check_tensor(name, tensor, expected[name], f"the configuration in {where}")


def _own_names(
    expected: Collection[str], found: Collection[str], config: EncoderConfig, head: TaskHead | None
) -> set[str]:
    """Return the names that a checkpoint of ours must have: those of the encoder and of the heads that are there."""
    given = [each for each in (*HEADS, *TRAINING_ONLY) if has_any(found, each)]
    modules = given if head is None else head.modules(config)
    return {name for name in expected if name.startswith(("encoder.", *(f"{each}." for each in modules)))}


def check_tensor(name: str, tensor: object, shape: tuple[int, ...], where: str) -> None:
    """Check that a tensor has a shape, and holds floating-point numbers, one for each position."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise ValueError(f"{name} is not a plain tensor, which {where} needs")
    if tuple(tensor.shape) != shape:
        subject = "the token table" if name == OUR_TOKEN_TABLE else name
        raise ValueError(f"{subject} is {tuple(tensor.shape)}, {where} says {shape}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} repeats its numbers instead of holding those that {where} needs")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds {tensor.dtype}, {where} needs floating-point numbers")


def check_names(where: str, found: set[str], wanted: set[str], model: str = "BERT") -> None:
    """Check that there are tensors of the wanted names and no others; ValueError naming those that are wrong."""
    missing, unknown = sorted(wanted - found), sorted(found - wanted)
    wrong = [f"lacks {listed(missing)}"] if missing else []
    wrong += [f"has {listed(unknown)}, which {model} does not have"] if unknown else []
    if wrong:
        raise ValueError(f"{where} {' and '.join(wrong)}")
