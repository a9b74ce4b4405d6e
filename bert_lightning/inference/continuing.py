"""Texts that a causal model continues, token by token, until its end-of-text token or the most tokens."""

from dataclasses import dataclass
from functools import cached_property

import torch

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.sampling import Sampling
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.cached_attention import CachedAttention
from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packed_batch import PackedTokens
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model writes after a text.

    Attributes:
        tokens: Token ids, the end-of-text token not among them.
        text: The tokens as text.
        is_ended: Whether the model ended the text; else the most tokens were reached.
    """

    tokens: list[int]
    text: str
    is_ended: bool


class Continuer:
    """A causal model that writes on.

    A text begins with [CLS], as the examples of pre-training do, and ends at [SEP], which ends documents there.

    Args:
        model: The model.

    Raises:
        ValueError: if the model is not a causal one that predicts the next token.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._head = model.next_token_head("writing on")
        self._model = model
        self._tokenizer = plain_text_tokenizer(model.tokenizer)
        self._special = special_tokens(model.tokenizer)
        self._attention = CachedAttention(model.config)
        self._encoder = _with_attention(model, self._attention)

    def prompt(self, text: str) -> list[int]:
        """Return the token ids of a text to continue: [CLS] and the text."""
        return [self._special.cls, *self._tokenizer.encode(text, add_special_tokens=False).ids]

    def room(self, max_new_tokens: int, setting: str) -> int:
        """Return how many tokens of a prompt fit before a continuation; ValueError if none do.

        Args:
            max_new_tokens: Most tokens of the continuation.
            setting: Name of the setting of that number, for the error.
        """
        room = self._model.config.max_position_embeddings - max_new_tokens
        if room < 2:
            raise ValueError(
                f"{setting}={max_new_tokens} leaves no room for a prompt: the model has "
                f"max_position_embeddings={self._model.config.max_position_embeddings}"
            )
        return room

    def check(self, text: str, max_new_tokens: int, where: str) -> list[int]:
        """Return the token ids of a text; a ValueError if its continuation does not fit into the model."""
        prompt, most = self.prompt(text), self._model.config.max_position_embeddings
        if len(prompt) + max_new_tokens > most:
            raise ValueError(
                f"{where} has {len(prompt)} tokens, which leaves no room for max_new_tokens={max_new_tokens}: the "
                f"model has max_position_embeddings={most}"
            )
        return prompt

    def __call__(self, text: str, max_new_tokens: int, sampling: Sampling, seed: int, where: str) -> Continuation:
        """Return the continuation of a text.

        Args:
            text: The text.
            max_new_tokens: Most tokens of the continuation.
            sampling: How tokens are chosen.
            seed: Seed of the random numbers of this text.
            where: What the text is called in errors.

        Raises:
            ValueError: if text and continuation together are longer than the model.
        """
        prompt = self.check(text, max_new_tokens, where)
        ends, generator = frozenset([self._special.sep]), torch.Generator().manual_seed(seed)
        tokens, is_ended = self._continue(prompt, max_new_tokens, sampling, generator, ends)
        return Continuation(tokens, self._written(prompt, tokens), is_ended)

    def line(self, prompt: list[int], max_new_tokens: int) -> str:
        """Return the line that the model writes after a prompt, without the white space around it.

        Args:
            prompt: Token ids of the prompt, [CLS] first.
            max_new_tokens: Most tokens of the line.
        """
        ends = self._line_ends | {self._special.sep}
        tokens, _ = self._continue(prompt, max_new_tokens, Sampling(), torch.Generator(), ends)
        return self._written(prompt, tokens).strip()

    @cached_property
    def _line_ends(self) -> frozenset[int]:
        """The tokens with a line break; a WordPiece vocabulary has none, and prepared folders never hold one."""
        ids = range(self._model.config.vocab_size)
        return frozenset(token for token in ids if "\n" in self._tokenizer.decode([token]))

    def _written(self, prompt: list[int], tokens: list[int]) -> str:
        """Return new tokens as the text that follows the prompt."""
        whole, start = (self._tokenizer.decode(ids) for ids in ([*prompt, *tokens], prompt))
        return whole.removeprefix(start) if whole.startswith(start) else self._tokenizer.decode(tokens)

    @torch.inference_mode()
    def _continue(
        self,
        prompt: list[int],
        max_new_tokens: int,
        sampling: Sampling,
        generator: torch.Generator,
        ends: frozenset[int],
    ) -> tuple[list[int], bool]:
        """Return the new tokens, and whether one of the tokens that end a text came after them."""
        self._attention.clear()
        read, tokens = 0, list(prompt)
        while len(tokens) < len(prompt) + max_new_tokens:
            piece = _piece(tokens, read).to(self._model.device)
            last = torch.tensor([len(tokens) - read - 1], device=self._model.device)
            hidden = self._encoder(piece, last)  # (1, hidden)
            scores = self._head.scores(hidden, self._encoder.embeddings.token.weight)[0]  # (padded vocabulary,)
            chosen = sampling.choose(scores[: self._model.config.vocab_size].float().cpu(), generator)
            if chosen in ends:
                return tokens[len(prompt) :], True
            read = len(tokens)
            tokens.append(chosen)
        return tokens[len(prompt) :], False


def _with_attention(model: LoadedModel, attention: PackedAttention) -> Encoder:
    """Return the encoder of a model, on its device, with another attention; the weights are the same memory."""
    with torch.device("meta"):
        encoder = Encoder(model.config, attention)
    encoder.load_state_dict(model.encoder.state_dict(), assign=True)
    return encoder.eval()


def _piece(tokens: list[int], read: int) -> PackedTokens:
    """Return the tokens of a sequence from `read` on, at their positions, as an encoder takes them."""
    new = torch.tensor(tokens[read:], dtype=torch.int32)
    positions = torch.arange(read, len(tokens), dtype=torch.int32)
    offsets = torch.tensor([0, len(new)], dtype=torch.int32)
    return PackedTokens(new, positions, torch.zeros_like(new), offsets, len(new))
