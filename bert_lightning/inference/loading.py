"""A trained encoder and its tokenizer, out of a checkpoint of any kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.checkpoints.task_head import KINDS, POOLER, PREDICTION_HEAD
from bert_lightning.models.attention import choose_attention
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import MaskedLMHead, NextTokenHead, Pooler, PredictionHead
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.settings.hardware import device_type, find_accelerator
from data_pipeline.streams.packed_batch import PackedTokens
from data_pipeline.whole_numbers import check_whole_number

Module = TypeVar("Module", bound=nn.Module)


def load_encoder(checkpoint: str | Path) -> tuple[Encoder, Tokenizer]:
    """Return the encoder of a checkpoint, ready to be called, and its tokenizer.

    The tokenizer truncates to the longest sequence that the encoder takes. `pack_texts` makes of texts what the encoder
    takes:

        from bert_lightning import load_encoder, pack_texts
        encoder, tokenizer = load_encoder("outputs/bert")
        tokens = pack_texts(tokenizer, ["A man plays the guitar.", "Stocks fell."])
        hidden = encoder(tokens)  # (tokens, hidden)
        vectors = [text.mean(0) for text in hidden.split(tokens.cu_seqlens.diff().tolist())]

    Args:
        checkpoint: A run, a checkpoint, or a Hugging Face folder. Gradients flow if they are asked for; the encoder is
            in evaluation mode, without dropout.

    Raises:
        ValueError: if there is no such checkpoint, it carries no tokenizer, or the tokenizer is of another model.
    """
    model = load_model(checkpoint, "cpu")
    model.tokenizer.enable_truncation(model.config.max_position_embeddings)
    return model.encoder, model.tokenizer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device, in evaluation mode; heads are built when they are asked for.

    Attributes:
        name: The checkpoint as the user named it, for errors.
        pretrained: What the checkpoint holds.
        encoder: The encoder.
        tokenizer: The tokenizer, which neither pads nor truncates.
        device: Where the encoder is.
    """

    name: str
    pretrained: Pretrained
    encoder: Encoder
    tokenizer: Tokenizer
    device: torch.device

    @property
    def config(self) -> EncoderConfig:
        """The encoder's sizes."""
        return self.pretrained.config

    @property
    def predicts_tokens(self) -> bool:
        """Whether the model has scores for masked tokens or for the next ones."""
        return self.config.is_causal or bool(self.pretrained.state_of("mlm_head"))

    def hidden(self, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return the last hidden states of packed tokens, all or those of some rows, on the model's device."""
        return self.encoder(tokens.to(self.device), None if rows is None else rows.to(self.device))

    def read(self, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return the hidden states that the head of the model reads, of all tokens or some rows, on its device."""
        reading = self.pretrained.head.reading if self.pretrained.head is not None else LayerReading()
        return reading(self.encoder, tokens.to(self.device), None if rows is None else rows.to(self.device))

    def checked_length(self, seq_len: int | None, key: str = "seq_len") -> int:
        """Return the most tokens of a text: `seq_len`, or as many as the model takes; ValueError if that is fewer."""
        most = self.config.max_position_embeddings
        check_whole_number(key, seq_len, least=8, or_null=True)
        if seq_len is not None and seq_len > most:
            raise ValueError(f"{key}={seq_len}, but the model has max_position_embeddings={most}")
        return seq_len or most

    def trained_length(self) -> int | None:
        """Return the most tokens of the examples that the model's run had, None if that is not known."""
        data = self.pretrained.settings.get("data")
        seq_len = data.get("seq_len") if isinstance(data, Mapping) else None
        return seq_len if type(seq_len) is int and 8 <= seq_len <= self.config.max_position_embeddings else None

    def task_head(self) -> nn.Module:
        """Return the head that fine-tuning trained: hidden states that `read` returns -> scores.

        A classifier of answerability, if there is one, adds a last column.
        """
        head = self.pretrained.head
        assert head is not None
        kind = KINDS[head.kind]
        *first, last = head.layers(self.config)
        before = [module for name in first for module in self._before(name)]
        extra = kind.extra if kind.extra is not None and self.pretrained.state_of(kind.extra) else None
        scores = self.linear(last) if extra is None else _SideBySide([self.linear(last), self.linear(extra)])
        return nn.Sequential(*before, scores)

    def _before(self, module: str) -> list[nn.Module]:
        """Return what a head has before its last layer: BERT's pooler, or the whole of ModernBERT's prediction head."""
        if module == POOLER:
            return [self.linear(module), nn.Tanh()]
        state = self.pretrained.state_of(PREDICTION_HEAD)
        return [self._loaded(PredictionHead(self.config, state["dense.weight"].shape[1]), state)]

    def linear(self, module: str) -> nn.Linear:
        """Return a linear layer of a head, which the checkpoint has."""
        state = self.pretrained.state_of(module)
        rows, columns = state["weight"].shape
        return self._loaded(nn.Linear(columns, rows, bias="bias" in state), state)

    def pooler(self) -> Pooler:
        """Return the pooler; ValueError if the checkpoint has none that is trained."""
        state = self.pretrained.pooler()
        if not state:
            raise ValueError(f"checkpoint={self.name} has no trained pooler")
        return self._loaded(Pooler(self.config), state)

    def mlm_head(self, purpose: str) -> MaskedLMHead:
        """Return the MLM head; ValueError saying the purpose if the checkpoint has none."""
        state = self.pretrained.state_of("mlm_head")
        if not state:
            raise ValueError(f"checkpoint={self.name} has no MLM head, which {purpose} needs")
        return self._loaded(MaskedLMHead(self.config), state)

    def next_token_head(self, purpose: str) -> NextTokenHead:
        """Return the scores of the next token; ValueError saying the purpose if the model is no causal one."""
        if not self.config.is_causal:
            raise ValueError(f"checkpoint={self.name} predicts no next token, which {purpose} needs: it is not causal")
        if self.pretrained.head is not None:
            raise ValueError(
                f"checkpoint={self.name} is fine-tuned for {self.pretrained.head.kind} and predicts no next token, "
                f"which {purpose} needs"
            )
        return NextTokenHead(self.config).eval().to(self.device)

    def _loaded(self, module: Module, state: dict[str, Tensor]) -> Module:
        module.load_state_dict(state)
        return module.eval().to(self.device)


class _SideBySide(nn.ModuleList):
    """Layers that read the same; their outputs are columns beside each other."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the outputs, (rows, outputs of all layers)."""
        return torch.cat([layer(hidden) for layer in self], dim=-1)


def load_model(checkpoint: str | Path, accelerator: str = "auto") -> LoadedModel:
    """Return the model of a checkpoint on a device.

    Args:
        checkpoint: A run, a checkpoint, or a Hugging Face folder.
        accelerator: "cpu", "gpu", or "auto" for a GPU if there is one.

    Raises:
        ValueError: if there is no such checkpoint, it carries no tokenizer, the tokenizer is of another model, or there
            is no such device.
    """
    device = torch.device(device_type(find_accelerator(accelerator, "accelerator")))
    pretrained = load_pretrained(checkpoint)
    encoder = Encoder(pretrained.config, choose_attention(device.type, 0.0, is_half_precision=False)).eval()
    encoder.load_state_dict(pretrained.state_of("encoder"))
    return LoadedModel(str(checkpoint), pretrained, encoder.to(device), pretrained.tokenizer(), device)
