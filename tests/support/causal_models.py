"""Tiny causal models of transformers, written as folders with a tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel, PreTrainedModel

from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.support.parity import random_weights
from tests.support.texts import tiny_texts

SIZES = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
END = "<|endoftext|>"
CAUSAL = {"gpt2": (GPT2Config, GPT2LMHeadModel), "openai-gpt": (OpenAIGPTConfig, OpenAIGPTLMHeadModel)}


def write_causal(folder: Path, tokenizer: Tokenizer, kind: str = "gpt2") -> PreTrainedModel:
    """Write a model with random weights and return it."""
    config, model_class = CAUSAL[kind]
    vocab_size = tokenizer.get_vocab_size()
    model = random_weights(model_class(config(vocab_size=vocab_size, pad_token_id=0, **SIZES, **NO_DROPOUT)))
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return model.eval()  # type: ignore[return-value]


def published_tokenizer() -> Tokenizer:
    """Byte-level BPE as OpenAI published GPT-2's: one special token, in the last row."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(document) for document in tiny_texts(60)], trainer)
    tokenizer.add_special_tokens([END])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def write_published(folder: Path, kind: str = "gpt2") -> PreTrainedModel:
    """Write a folder as OpenAI's, whose tokenizer has no role but the end of a text, and return the model."""
    tokenizer = published_tokenizer()
    size = tokenizer.get_vocab_size()
    ends = {"bos_token_id": size - 1, "eos_token_id": size - 1}
    config, model_class = CAUSAL[kind]
    model = random_weights(model_class(config(vocab_size=size, **ends, **SIZES, **NO_DROPOUT)))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    return model.eval()  # type: ignore[return-value]
