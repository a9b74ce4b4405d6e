"""Tiny causal models of transformers, written as folders with a tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel, PreTrainedModel

from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.support.parity import random_weights

SIZES = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
CAUSAL = {"gpt2": (GPT2Config, GPT2LMHeadModel), "openai-gpt": (OpenAIGPTConfig, OpenAIGPTLMHeadModel)}


def write_causal(folder: Path, tokenizer: Tokenizer, kind: str = "gpt2") -> PreTrainedModel:
    """Write a model with random weights and return it."""
    config, model_class = CAUSAL[kind]
    vocab_size = tokenizer.get_vocab_size()
    model = random_weights(model_class(config(vocab_size=vocab_size, pad_token_id=0, **SIZES, **NO_DROPOUT)))
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return model.eval()  # type: ignore[return-value]
