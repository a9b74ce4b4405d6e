"""Which tensors of transformers' BERT ours are made of, by name.

Query, key and value are one matrix here and three there; everything else has one counterpart.
"""

from collections.abc import Collection, Iterable

from bert_lightning.checkpoints.task_head import KINDS, POOLER, TaskHead
from bert_lightning.models.encoder_config import EncoderConfig

HEADS = ("mlm_head", "nsp_head.pooler", "nsp_head.classifier")
"""Heads of pre-training; a published encoder may come without them."""
THEIR_POOLER = "bert.pooler.dense"
_ENCODER = {
    "encoder.embeddings.token": "bert.embeddings.word_embeddings",
    "encoder.embeddings.position": "bert.embeddings.position_embeddings",
    "encoder.embeddings.segment": "bert.embeddings.token_type_embeddings",
    "encoder.embeddings.norm": "bert.embeddings.LayerNorm",
}
_PRETRAINING_HEADS = {
    "nsp_head.pooler.dense": THEIR_POOLER,
    "nsp_head.classifier": "cls.seq_relationship",
    "mlm_head.transform": "cls.predictions.transform.dense",
    "mlm_head.norm": "cls.predictions.transform.LayerNorm",
    "mlm_head": "cls.predictions",
}
_LAYER = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
_QKV = ("query", "key", "value")
_ARCHITECTURES = (
    (("mlm_head", "nsp_head.classifier"), "BertForPreTraining"),
    (("nsp_head.classifier",), "BertForNextSentencePrediction"),
    (("mlm_head",), "BertForMaskedLM"),
)
"""Classes of transformers without a task's head, each with the heads it has; the first that fits is the one to load."""


def names(config: EncoderConfig, head: TaskHead | None = None) -> dict[str, tuple[str, ...]]:
    """Return the tensors of ours, each with those of transformers that it is made of, in order.

    Args:
        config: The encoder's sizes.
        head: The head of a fine-tuned model; None: the heads of pre-training, all of them.
    """
    modules: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in (_ENCODER | _heads(head)).items()}
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{layer}", f"bert.encoder.layer.{layer}"
        modules |= {f"{ours}.{name}": (f"{theirs}.{other}",) for name, other in _LAYER.items()}
        modules[f"{ours}.attention.qkv"] = tuple(f"{theirs}.attention.self.{part}" for part in _QKV)
    found: dict[str, tuple[str, ...]] = {}
    for ours, parts in modules.items():
        is_table = ours.startswith("encoder.embeddings.") and not ours.endswith("norm")
        kinds = ("weight",) if is_table else ("bias",) if ours == "mlm_head" else ("weight", "bias")
        found |= {f"{ours}.{kind}": tuple(f"{part}.{kind}" for part in parts) for kind in kinds}
    return found


def _heads(head: TaskHead | None) -> dict[str, str]:
    if head is None:
        return _PRETRAINING_HEADS
    return {module: THEIR_POOLER if module == POOLER else module for module in KINDS[head.kind].modules}


def without(names: dict[str, tuple[str, ...]], heads: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the names without those of some heads."""
    prefixes = tuple(f"{head}." for head in heads)
    return {ours: theirs for ours, theirs in names.items() if not ours.startswith(prefixes)}


def has_any(names: Iterable[str], head: str) -> bool:
    """Return whether any of the names is one of a head."""
    return any(name.startswith(f"{head}.") for name in names)


def architecture(state: Collection[str], head: TaskHead | None = None) -> str:
    """Return the class of transformers that loads a model.

    Args:
        state: Names of the model's tensors.
        head: The head of a fine-tuned model, None for a pre-trained one.

    Raises:
        ValueError: if the head reads other layers than the last.
    """
    if head is not None:
        if not head.reading.is_last:
            raise ValueError(f"the head reads the layers {head.reading.layers}, which no class of transformers does")
        return head.architecture
    fitting = (name for heads, name in _ARCHITECTURES if all(has_any(state, each) for each in heads))
    return next(fitting, "BertModel")
