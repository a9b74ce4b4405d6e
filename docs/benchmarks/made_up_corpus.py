"""Write a prepared folder of made-up documents, so that the loader can be measured where there is no corpus.

    python docs/benchmarks/made_up_corpus.py FOLDER [million tokens]

Sentences have 5 to 45 tokens, documents 2 to 24 sentences, and the frequency of a token falls with its number as Zipf's
law has it. The loader's work is that for text: planning, reading, pairing, masking and packing see no difference.
"""

import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models

from data_pipeline.prepared.manifest import Manifest, SourceEntry
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import TokenizedDocument
from data_pipeline.tokenizers.bert_steps import WordFlags, wordpiece_tokenizer
from data_pipeline.tokenizers.special_tokens import finish
from data_pipeline.tokenizers.tokenizer import tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import save_tokenizer

VOCAB_SIZE = 30522
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS_OF_A_SHARD = 1_000_000


def tokenizer() -> Tokenizer:
    """Return a WordPiece tokenizer of numbered words."""
    words = [*SPECIALS, *(f"w{number}" for number in range(VOCAB_SIZE - len(SPECIALS)))]
    vocabulary = {word: number for number, word in enumerate(words)}
    return finish(wordpiece_tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"), WordFlags()))


def documents(num_tokens: int, seed: int) -> list[TokenizedDocument]:
    """Return documents of at least so many tokens together."""
    numbers = np.random.default_rng(seed)
    made, count = [], 0
    while count < num_tokens:
        sizes = numbers.integers(5, 46, size=numbers.integers(2, 25))
        ids = len(SPECIALS) + (VOCAB_SIZE - len(SPECIALS)) ** numbers.random(sizes.sum()) - 1
        sentences = np.split(ids.astype(np.int64), np.cumsum(sizes)[:-1])
        made.append(TokenizedDocument(f"{seed}-{len(made)}", [sentence.tolist() for sentence in sentences]))
        count += int(sizes.sum())
    return made


def write(folder: Path, million_tokens: int) -> None:
    """Write the folder; one more shard is held out."""
    shards = {"train": million_tokens, "validation": 1}
    splits = {
        split: [
            write_shard(
                folder,
                f"{split}/part-{i:05d}.tar",
                documents(TOKENS_OF_A_SHARD, 1000 * (split == "train") + i),
                VOCAB_SIZE,
            )
            for i in range(count)
        ]
        for split, count in shards.items()
    }
    save_tokenizer(tokenizer(), folder / "tokenizer")
    num_documents = sum(entry.documents for entries in splits.values() for entry in entries)
    source = SourceEntry("made up", "public domain", "docs/benchmarks/made_up_corpus.py", num_documents)
    Manifest(tokenizer_sha256(tokenizer()), VOCAB_SIZE, {}, [source], splits).save(folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16)
