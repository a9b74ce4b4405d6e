"""What an encoder looks like: sizes, probabilities, and the choices that tell BERT from its relatives.

The defaults are BERT's. A RoBERTa has a position_offset, an ALBERT shared layers and a small embedding_size, an
ELECTRA's discriminator the latter alone. A ModernBERT has rotary positions, norm=pre, gated networks, no biases and
local attention; a GPT-2 has norm=pre, no embedding_norm, and is causal.
"""

from dataclasses import dataclass, fields

from bert_lightning.models.activations import ACTIVATIONS
from bert_lightning.models.neighbors import check_reach, check_sizes
from data_pipeline.whole_numbers import check_whole_number

VOCABULARY_MULTIPLE = 64
"""Rows of the token table and columns of the logits are padded to it, for the matrix kernels of GPUs."""

_SIZES = {
    "vocab_size": (1, 1 << 24),
    "hidden_size": (1, 1 << 16),
    "num_hidden_layers": (1, 1 << 10),
    "num_attention_heads": (1, 1 << 16),
    "intermediate_size": (1, 1 << 18),
    "max_position_embeddings": (1, 1 << 20),
    "type_vocab_size": (0, 1 << 16),
    "embedding_size": (1, 1 << 16),
    "position_offset": (0, 1 << 16),
    "num_hidden_groups": (1, 1 << 10),
    "local_attention": (2, 1 << 20),
    "global_attn_every_n_layers": (1, 1 << 10),
}
"""The least value, and one far above any BERT, so that a size that makes no sense is an error before it is memory."""
_OPTIONAL = ("embedding_size", "local_attention")
_CHOICES = {
    "hidden_act": tuple(ACTIVATIONS),
    "initialization": ("bert", "neighbors", "scaled_residual"),
    "positions": ("learned", "rotary"),
    "norm": ("post", "pre"),
    "feed_forward": ("plain", "gated"),
    "shared_parameters": ("none", "attention", "feed_forward", "all"),
}
_NEEDED = (
    ("num_hidden_groups", "shared_parameters", "none"),
    ("position_offset", "positions", "rotary"),
    ("rope_theta", "positions", "learned"),
    ("local_rope_theta", "positions", "learned"),
    ("global_attn_every_n_layers", "local_attention", None),
)
"""Settings that do nothing if another one has a value."""
_OF_LAYERS = ("rope_theta", "local_rope_theta", "local_attention", "global_attn_every_n_layers")
"""Settings that say how far each layer sees and by what it knows positions."""
_PUBLISHED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes and probabilities, in the terms of the published config.json, and how the weights begin.

    Attributes:
        vocab_size: Words of the vocabulary.
        hidden_size: Width of the layers.
        num_hidden_layers: Layers that every token passes through.
        num_attention_heads: Attention heads of a layer.
        intermediate_size: Width of the feed-forward networks.
        hidden_act: Activation function of the feed-forward networks and of the head for masked tokens.
        hidden_dropout_prob: Probability of dropout of embeddings and of what a layer adds.
        attention_probs_dropout_prob: Probability of dropout of attention weights.
        max_position_embeddings: Tokens of the longest sequence.
        type_vocab_size: Segments that have an embedding; 0 for no segment embeddings, 1 for the same one everywhere.
        initializer_range: Standard deviation of new weights.
        layer_norm_eps: What LayerNorm adds to the variance.
        pad_token_id: The token whose embedding begins at zero.
        initialization: How the weights begin: as BERT's; as `look_at_neighbors` changes them; or with the matrices that
            add to the residual stream divided by sqrt(2 layers) (Radford et al., 2019).
        embedding_size: Width of the embeddings (Lan et al., 2019, section 3.1); None for `hidden_size`, which becomes
            None too. If the two differ, a linear layer stands between embeddings and layers.
        position_offset: Row of the position table that the first token of a sequence takes, 2 in RoBERTa. The table
            has as many rows more than `max_position_embeddings`.
        shared_parameters: Weights that the layers of a group share (Lan et al., 2019, table 4).
        num_hidden_groups: Groups of successive layers that share weights.
        positions: A table of learned positions, or rotary ones, which turn queries and keys in every layer.
        rope_theta: Base of the frequencies of rotary positions.
        local_rope_theta: The same in layers with local attention; None for `rope_theta`.
        norm: Whether LayerNorm follows each half of a layer, or precedes it; then one more follows the last layer.
        embedding_norm: Whether embeddings are normalized. With norm=pre the first layer's attention then reads them as
            they are, if it is not shared and they are as wide as the layers.
        use_bias: Whether linear layers and LayerNorms have biases.
        feed_forward: A network of two matrices, or a gated one of three.
        is_causal: Whether a token sees itself and earlier tokens alone.
        local_attention: Width of local attention: a token sees half of it on either side. None for no local layers.
        global_attn_every_n_layers: Distance between layers without local attention; the first layer is one of them.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    initialization: str = "bert"
    embedding_size: int | None = None
    position_offset: int = 0
    shared_parameters: str = "none"
    num_hidden_groups: int = 1
    positions: str = "learned"
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    norm: str = "post"
    embedding_norm: bool = True
    use_bias: bool = True
    feed_forward: str = "plain"
    is_causal: bool = False
    local_attention: int | None = None
    global_attn_every_n_layers: int = 3

    def __post_init__(self) -> None:
        if self.vocab_size is None:
            raise ValueError("model.vocab_size=null is filled from the tokenizer of the prepared data")
        self._check_each()
        if self.embedding_size == self.hidden_size:
            object.__setattr__(self, "embedding_size", None)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"model.hidden_size={self.hidden_size} is not a multiple of "
                f"model.num_attention_heads={self.num_attention_heads}"
            )
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"model.pad_token_id={self.pad_token_id} is not below model.vocab_size={self.vocab_size}")
        self._check_needed()
        self._check_sharing()
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(
                "model.positions=rotary needs an even model.hidden_size / model.num_attention_heads; "
                f"got {self.head_dim}"
            )
        if self.initialization == "neighbors":
            self._check_neighbors()

    def _check_each(self) -> None:
        """Raise a ValueError if a value makes no sense whatever the others are."""
        for name, (least, most) in _SIZES.items():
            value = getattr(self, name)
            check_whole_number(f"model.{name}", value, least=least, or_null=name in _OPTIONAL)
            if value is not None and value > most:
                raise ValueError(f"model.{name}={value} is above {most}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"model.{name} must be one of {', '.join(choices)}; got {getattr(self, name)}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} is not a probability below 1")
        for name in ("initializer_range", "layer_norm_eps", "rope_theta", "local_rope_theta"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"model.{name}={getattr(self, name)} is not positive")

    def _check_needed(self) -> None:
        """Raise a ValueError if a setting would do nothing, beside the others."""
        usual = {each.name: each.default for each in fields(self)}
        for name, other, value in _NEEDED:
            if getattr(self, other) == value and getattr(self, name) != usual[name]:
                raise ValueError(
                    f"model.{name}={getattr(self, name)} does nothing with model.{other}={value}; "
                    f"take another model.{other}, or model.{name}={usual[name]}"
                )

    def _check_sharing(self) -> None:
        """Raise a ValueError if the layers cannot be cut into the groups."""
        if self.num_hidden_groups > self.num_hidden_layers:
            raise ValueError(
                f"model.num_hidden_groups={self.num_hidden_groups} is above "
                f"model.num_hidden_layers={self.num_hidden_layers}"
            )
        if self.local_attention is not None and self.shares_attention:
            raise ValueError(
                f"model.local_attention={self.local_attention} makes layers attend differently, so they cannot have "
                f"model.shared_parameters={self.shared_parameters}; take none or feed_forward"
            )

    def _check_neighbors(self) -> None:
        """Raise a ValueError if heads cannot begin by looking at tokens on both sides through learned positions."""
        check_sizes(self.hidden_size, self.num_attention_heads)
        if self.embedding_width != self.hidden_size:
            raise ValueError(
                f"model.initialization=neighbors needs model.embedding_size={self.hidden_size}, which is "
                f"model.hidden_size; got {self.embedding_size}"
            )
        for name, wanted in (("positions", "learned"), ("is_causal", False)):
            if (given := getattr(self, name)) != wanted:
                raise ValueError(f"model.initialization=neighbors needs model.{name}={wanted}; got {given}")
        if self.norm == "post" and not self.embedding_norm:
            raise ValueError(
                "model.initialization=neighbors needs model.embedding_norm=true or model.norm=pre, so that attention "
                "reads normalized positions; got false and post"
            )
        check_reach(self.num_attention_heads, [self.window_of(layer)[0] for layer in range(self.num_hidden_layers)])

    @property
    def padded_vocab_size(self) -> int:
        """`vocab_size` rounded up to a multiple of 64."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings, which is `hidden_size` if `embedding_size` is None."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def shares_attention(self) -> bool:
        """Whether layers of a group have the same attention."""
        return self.shared_parameters in ("attention", "all")

    @property
    def has_windows(self) -> bool:
        """Whether there are tokens that do not see the whole of their sequence."""
        return self.is_causal or self.local_attention is not None

    @property
    def has_prediction_heads(self) -> bool:
        """Whether heads of tasks begin with a dense layer and a LayerNorm, as those of ModernBERT, without biases."""
        return not self.use_bias and not self.is_causal

    def is_local(self, layer: int) -> bool:
        """Return whether a layer, counted from 0, has local attention."""
        return self.local_attention is not None and layer % self.global_attn_every_n_layers != 0

    def window_of(self, layer: int) -> tuple[int, int]:
        """Return how many tokens a token of a layer sees before and after itself, -1 for all of them."""
        side = self.local_attention // 2 if self.local_attention is not None and self.is_local(layer) else -1
        return side, 0 if self.is_causal else side

    def theta_of(self, layer: int) -> float | None:
        """Return the base of the rotary positions of a layer, None if positions are learned."""
        if self.positions == "learned":
            return None
        has_own = self.local_rope_theta is not None and self.is_local(layer)
        return self.local_rope_theta if has_own else self.rope_theta

    def reads_normalized(self, layer: int) -> bool:
        """Return whether a layer's attention reads what is normalized already, as ModernBERT's first layer has it."""
        is_other = self.norm == "post" or self.shares_attention or self.embedding_size is not None
        return layer == 0 and self.embedding_norm and not is_other

    def group_of(self, layer: int) -> int:
        """Return the group of a layer, from 0, rounded as transformers does; a group shares `shared_parameters`."""
        return int(layer / (self.num_hidden_layers / self.num_hidden_groups))

    def as_dict(self) -> dict[str, int | float | str | None]:
        """Return the fields of BERT's config.json as plain values, and those that make the encoder no BERT."""
        return {name: getattr(self, name) for name in _PUBLISHED} | self.beyond_bert()

    def beyond_bert(self) -> dict[str, int | float | str | None]:
        """Return the fields that BERT's config.json does not have and that differ from what a BERT is.

        How the weights began is no property of a trained model and never among them.
        """
        others = [each for each in fields(self) if each.name not in (*_PUBLISHED, "initialization")]
        return {each.name: getattr(self, each.name) for each in others if getattr(self, each.name) != each.default}

    def differences(self, other: "EncoderConfig") -> list[str]:
        """Return the fields for which the weights of one encoder are not for the other; dropout is none of them.

        What layers see is compared layer by layer, because several settings can say the same.
        """
        names = [each.name for each in fields(self) if not each.name.endswith(("_prob", "_range", "initialization"))]
        layers = range(min(self.num_hidden_layers, other.num_hidden_layers))
        ours, theirs = ([(each.window_of(n)[0], each.theta_of(n)) for n in layers] for each in (self, other))
        if ours == theirs:
            names = [name for name in names if name not in _OF_LAYERS]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    @classmethod
    def published_fields(cls) -> list[str]:
        """Return the names that BERT's config.json has too."""
        return list(_PUBLISHED)
