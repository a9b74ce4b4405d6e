"""What a family of models of transformers is: names of weights and classes, keys of config.json, and what it can hold.

A family is an object with tables; few of them need a method of their own. Names of tensors are those of modules with
`weight` or `bias` after them, so the tables speak of modules.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bert_lightning.checkpoints.huggingface.config_keys import by_key, in_their_words
from bert_lightning.checkpoints.huggingface.task_classes import Names, TaskClass
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import HEADS, has_any
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.tasks.encoded import FIRST
from data_pipeline.tokenizers.special_tokens import SpecialTokens
from data_pipeline.untrusted.typed_fields import build, listed, shown

log = logging.getLogger(__name__)
QKV = "attention.qkv"
"""The module of a layer that may be several modules of transformers."""
EMBEDDINGS = {
    "embeddings.token": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
}
_LAYER = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
FIELDS = {name: name for name in EncoderConfig.published_fields()}
"""Fields of the encoder's sizes that have the same name in config.json."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A family of models; what is not said is as in BERT.

    Attributes:
        title: Name in sentences.
        model_type: Name in config.json.
        prefix: Name of the encoder in a model with a head.
        encoder: Modules of the encoder outside its layers; theirs are below the prefix.
        layer_name: Name of a layer below the prefix, with {} for its number.
        layer: Modules of a layer.
        qkv: The modules of a layer that query, key and value are in, in order.
        heads: Modules of the heads of pre-training.
        borrowed: Modules of ours that are written as modules of transformers which are read as others of ours.
        left_out: Heads of pre-training that are not written, because no class has them.
        classes: Classes without a task's head, each with the heads it has; the first that fits is the one to load.
        tasks: Classes with a task's head, by kind.
        pooler: The pooler below the prefix, which files may have although no head reads it.
        copies: Tensors that repeat another one.
        buffers: Tensors below the prefix that are no weights.
        layer_buffers: The same below the name of a layer.
        transposed: Modules of a layer, in the terms of transformers, whose matrices are transposed there.
        fields: Fields of the encoder's sizes, each with its key in config.json.
        aliases: Other names of keys that transformers takes in config.json, each with the key.
        same_dropout: A key of config.json for another dropout, which here has the probability of `hidden_dropout_prob`.
        constants: Keys of config.json that can have no other value than this one, which is their default.
        unset: Keys of config.json that are written as null, because their defaults are of another vocabulary.
        traits: Fields beyond BERT's sizes that may have any value.
        required: Fields beyond BERT's sizes that have another value than in BERT.
        usual: Sizes that a config.json without them means, where they are not BERT's.
        extract: The tokens that the heads for whole texts read.
        head_activation: Activation of the head for masked tokens; None for that of the layers.
    """

    title: str
    model_type: str
    prefix: str
    encoder: Names = field(default_factory=lambda: EMBEDDINGS)
    layer_name: str = "encoder.layer.{}"
    layer: Names = field(default_factory=lambda: _LAYER)
    qkv: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    heads: Names
    borrowed: Names = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    classes: tuple[tuple[tuple[str, ...], str], ...]
    tasks: Mapping[str, TaskClass] = field(default_factory=dict)
    pooler: str = "pooler.dense"
    copies: Names = field(default_factory=dict)
    buffers: tuple[str, ...] = ("embeddings.position_ids", "embeddings.token_type_ids")
    layer_buffers: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    fields: Names = field(default_factory=lambda: FIELDS)
    aliases: Names = field(default_factory=dict)
    same_dropout: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()
    required: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    extract: str = FIRST
    head_activation: str | None = None

    def objections(self, config: EncoderConfig, modules: Collection[str], head: TaskHead | None) -> list[str]:
        """Return what a model has that the classes of the family do not have.

        Args:
            config: The encoder's sizes.
            modules: Names of the model's tensors.
            head: The head of a fine-tuned model, None for a pre-trained one.
        """
        config = self.fitted(config)
        beyond = config.beyond_bert()
        wrong = [name for name in beyond if name not in (*self.traits, *self.required)]
        wrong += [name for name, value in self.required.items() if getattr(config, name) != value]
        if not config.type_vocab_size and "type_vocab_size" not in self.required:
            wrong.append("type_vocab_size")
        if self.has_other_activation(config, modules):
            wrong.append("hidden_act")
        said = [f"model.{name}={getattr(config, name)}" for name in wrong]
        if head is None:
            known = {*self.heads, *self.borrowed, *self.left_out}
            is_known = {each for each in HEADS if has_any(known, each) or each.partition(".")[0] in known}
            return said + [each for each in HEADS if has_any(modules, each) and each not in is_known]
        said += [f"a head for {head.kind}"] if head.kind not in self.tasks else []
        said += ["a reader of a knowledge graph"] if head.graph is not None else []
        is_other = head.extract not in (FIRST, self.extract)
        return said + ([f"a head that reads {head.extract.replace('_', ' ')}"] if is_other else [])

    def has_other_activation(self, config: EncoderConfig, modules: Collection[str]) -> bool:
        """Return whether a head for masked tokens has another activation here than in transformers.

        Args:
            config: The encoder's sizes.
            modules: Names of the model's tensors.
        """
        return self.head_activation not in (None, config.hidden_act) and has_any(modules, "mlm_head")

    def check(self, config: EncoderConfig, modules: Collection[str] = (), head: TaskHead | None = None) -> None:
        """Raise a ValueError naming what a model has that the classes of the family do not have.

        Args:
            config: The encoder's sizes.
            modules: Names of the model's tensors.
            head: The head of a fine-tuned model, None for a pre-trained one.
        """
        if said := self.objections(config, modules, head):
            raise ValueError(f"the model has {listed(said)}, which {self.title}'s classes in transformers do not have")

    def fitted(self, config: EncoderConfig) -> EncoderConfig:
        """Return the sizes that the classes of the family have for a model of ours, which computes the same."""
        return config

    def fitted_state(self, state: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
        """Return the tensors of ours for the sizes that `fitted` returns.

        Args:
            state: The tensors of ours.
            config: The sizes before.
        """
        return dict(state)

    def simplified(self, state: dict[str, Tensor], config: EncoderConfig) -> tuple[dict[str, Tensor], EncoderConfig]:
        """Return tensors and sizes of ours without what computes nothing.

        Args:
            state: The tensors of ours, as they were read.
            config: The sizes that config.json says.
        """
        return state, config

    def names(self, tensors: Iterable[str], head: TaskHead | None = None) -> dict[str, tuple[str, ...]]:
        """Return tensors of ours, each with those of transformers that it is made of, in order.

        Args:
            tensors: Names of ours; those of heads that the family does not have are left out.
            head: The head of a fine-tuned model; None: the heads of pre-training.
        """
        heads = self.head_modules(head)
        found: dict[str, tuple[str, ...]] = {}
        for name in tensors:
            module, _, kind = name.rpartition(".")
            if module in heads:
                found[name] = (f"{heads[module]}.{kind}",)
            elif module.startswith("encoder."):
                parts = self._encoder_parts(module.removeprefix("encoder."))
                found[name] = tuple(f"{self.prefix}.{part}.{kind}" for part in parts)
        return found

    def head_modules(self, head: TaskHead | None) -> Names:
        """Return the modules of the head of a fine-tuned model, or of the heads of pre-training if it is None."""
        return self.heads if head is None else self.tasks[head.kind].modules

    def _encoder_parts(self, module: str) -> tuple[str, ...]:
        """Return the modules of transformers, without the prefix, for a module of the encoder."""
        if not module.startswith("layers."):
            return (self.encoder[module],)
        _, number, inside = module.split(".", 2)
        parts = self.qkv if inside == QKV else (self.layer[inside],)
        return tuple(f"{self.layer_name.format(number)}.{part}" for part in parts)

    def unread(self, config: EncoderConfig) -> set[str]:
        """Return the names of tensors that are no weights."""
        layers = [self.layer_name.format(number) for number in range(config.num_hidden_layers)]
        inside = [f"{layer}.{name}" for layer in layers for name in self.layer_buffers]
        return {f"{self.prefix}.{name}" for name in (*self.buffers, *inside)}

    def turned(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor as the other side has it, transposed if the module is one of `transposed`.

        Args:
            name: The name that transformers has for it.
            tensor: The tensor of either side.
        """
        module = name.rpartition(".")[0]
        return tensor.T if tensor.dim() == 2 and module.endswith(self.transposed) else tensor

    def architecture(self, state: Collection[str], head: TaskHead | None = None) -> str:
        """Return the class of transformers that loads a model.

        Args:
            state: Names of the model's tensors.
            head: The head of a fine-tuned model, None for a pre-trained one.

        Raises:
            ValueError: if the head reads other layers than the last.
        """
        if head is None:
            return next(name for heads, name in self.classes if all(has_any(state, each) for each in heads))
        if not head.reading.is_last:
            raise ValueError(f"the head reads the layers {head.reading.layers}, which no class of transformers does")
        return self.tasks[head.kind].name

    def config_fields(self, config: EncoderConfig) -> dict[str, Any]:
        """Return what config.json says of the sizes that `fitted` returns."""
        same = {self.same_dropout: config.hidden_dropout_prob} if self.same_dropout is not None else {}
        sizes = {theirs: getattr(config, ours) for ours, theirs in self.fields.items()}
        return {**sizes, **same, **dict.fromkeys(self.unset)}

    def token_fields(self, special: SpecialTokens, head: TaskHead | None) -> dict[str, Any]:
        """Return what config.json says of special tokens in the place of what `config_fields` returns.

        Args:
            special: The special tokens of the model's vocabulary.
            head: The head of a fine-tuned model, None for a pre-trained one.
        """
        return {}

    def read_config(self, content: Mapping[str, Any], where: str) -> EncoderConfig:
        """Return the sizes that a config.json says; ValueError if this encoder cannot have them.

        A warning says which of two probabilities of dropout is taken.

        Args:
            content: The object in the file.
            where: The file, for errors.
        """
        content = by_key(content, self.aliases, where)
        for key, only in self.constants.items():
            if content.get(key) not in (None, only):
                raise ValueError(f"{where} has {key}={shown(content[key])}; only {shown(only)} can be read")
        try:
            config = build(EncoderConfig, {**self.usual, **self.required, **self.values(content, where)}, where)
        except ValueError as error:
            raise ValueError(in_their_words(str(error), self.fields)) from error
        taken = config.hidden_dropout_prob
        if self.same_dropout is not None and (said := content.get(self.same_dropout)) not in (None, taken):
            key = self.fields["hidden_dropout_prob"]
            log.warning("%s has %s=%s and %s=%s; both are %s here", where, key, taken, self.same_dropout, said, taken)
        return config

    def values(self, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the fields of the encoder's sizes that a config.json says.

        Args:
            content: The object in the file.
            where: The file, for errors.
        """
        return {ours: content[theirs] for ours, theirs in self.fields.items() if content.get(theirs) is not None}
