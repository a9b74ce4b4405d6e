"""bert-fill-mask: the quick look at what a model learned: its best guesses for every [MASK] of a sentence."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.electra_halves import generator_half
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.settings.cli import entry_point
from data_pipeline.streams.packed_texts import pack_sequences
from data_pipeline.tokenizers.special_tokens import special_names, special_tokens, with_mask
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number


@dataclass(frozen=True, slots=True)
class Guess:
    """A token and its probability."""

    token: str
    probability: float


class MaskFiller:
    """A model and its tokenizer, ready to guess.

    Args:
        checkpoint: A run, a checkpoint, or a Hugging Face folder with an MLM head; of an ELECTRA its generator guesses.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        pretrained = load_pretrained(checkpoint)
        if generator := generator_half(pretrained.state, pretrained.config):
            pretrained = replace(pretrained, config=generator[0], state=generator[1])
        self.config = pretrained.config
        if "mlm_head" in pretrained.absent_heads:
            raise ValueError(f"checkpoint={checkpoint} has no MLM head, so it cannot fill in masks")
        self.tokenizer = pretrained.tokenizer()
        self.encoder = Encoder(pretrained.config).eval()
        self.encoder.load_state_dict(pretrained.state_of("encoder"))
        self.mlm_head = MaskedLMHead(pretrained.config).eval()
        self.mlm_head.load_state_dict(pretrained.state_of("mlm_head"))

    def __call__(self, text: str, top_k: int = 5) -> list[list[Guess]]:
        """Return the best guesses for every [MASK] of a text, in order; the mask may have the name in the vocabulary.

        Raises:
            ValueError: if the text has no [MASK] or is longer than the model.
        """
        ids = self.tokenizer.encode(with_mask(self.tokenizer, text)).ids
        if special_tokens(self.tokenizer).mask not in ids:
            raise ValueError(f"text={text!r} has no {special_names(self.tokenizer)['mask']}")
        return self.fill(ids, top_k)

    @torch.no_grad()
    def fill(self, ids: list[int], top_k: int = 5) -> list[list[Guess]]:
        """Return the best guesses for every [MASK] of a text that is given as token ids with [CLS] and [SEP].

        Raises:
            ValueError: if the text is longer than the model.
        """
        mask = special_tokens(self.tokenizer).mask
        positions = [position for position, token in enumerate(ids) if token == mask]
        if len(ids) > self.config.max_position_embeddings:
            raise ValueError(
                f"text has {len(ids)} tokens, more than max_position_embeddings={self.config.max_position_embeddings}"
            )
        hidden = self.encoder(pack_sequences([ids], [[0] * len(ids)]), torch.tensor(positions))
        scores = self.mlm_head.scores(hidden, self.encoder.embeddings.token.weight)
        best = scores.softmax(-1).topk(min(top_k, self.config.vocab_size))
        return [self._guesses(*row) for row in zip(best.values, best.indices, strict=True)]

    def _guesses(self, probabilities: Tensor, tokens: Tensor) -> list[Guess]:
        pairs = zip(tokens.tolist(), probabilities.tolist(), strict=True)
        return [Guess(self.tokenizer.id_to_token(token) or f"#{token}", probability) for token, probability in pairs]


def fill_mask(cfg: DictConfig) -> list[list[Guess]]:
    """Guess and print a table for every [MASK]."""
    check_whole_number("top_k", cfg.top_k)
    guesses = MaskFiller(cfg.checkpoint)(cfg.text, cfg.top_k)
    console = Console(markup=False, emoji=False)
    for number, best in enumerate(guesses, 1):
        table = Table("token", "probability", title=f"[MASK] {number}")
        for guess in best:
            table.add_row(printable(guess.token), f"{guess.probability:.4f}")
        console.print(table)
    return guesses


main = entry_point("fill_mask", fill_mask)

if __name__ == "__main__":
    main()
