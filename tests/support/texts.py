"""A made-up language, and a prepared folder of its documents."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data_pipeline.prepared.manifest import Manifest, SourceEntry
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import TokenizedDocument
from data_pipeline.tokenizers.tokenizer import tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import save_tokenizer

WORDS = [
    "the",
    "a",
    "king",
    "queen",
    "city",
    "river",
    "house",
    "old",
    "young",
    "white",
    "red",
    "runs",
    "walks",
    "sees",
    "loves",
    "leaves",
    "to",
    "from",
    "with",
    "of",
    "and",
    "under",
    "over",
    "morning",
    "evening",
    "winter",
    "summer",
    "never",
    "always",
    "slowly",
    "gladly",
    "unhappily",
    "stone",
    "bread",
    "water",
    "garden",
    "mountain",
]


def tiny_texts(number: int, seed: int = 0) -> list[list[str]]:
    """Documents of 1 to 20 sentences, each with a third of the words as its own, so that NSP can be learned."""
    numbers = np.random.default_rng(seed)
    documents = []
    for _ in range(number):
        words = numbers.choice(WORDS, size=len(WORDS) // 3, replace=False)
        sizes = numbers.integers(3, 14, size=numbers.integers(1, 21))
        documents.append([" ".join(numbers.choice(words, size=size)) + " ." for size in sizes])
    return documents


def write_prepared(
    folder: Path, tokenizer: Tokenizer, shards: list[list[list[str]]], validation: list[list[str]]
) -> Path:
    """Write a prepared folder of given documents: `shards[i]` are the documents of training shard i."""

    def tokenized(documents: list[list[str]], prefix: str) -> list[TokenizedDocument]:
        return [
            TokenizedDocument(f"{prefix}-{i}", [tokenizer.encode(s, add_special_tokens=False).ids for s in document])
            for i, document in enumerate(documents)
        ]

    size = tokenizer.get_vocab_size()
    train = [
        write_shard(folder, f"train/part-{i:05d}.tar", tokenized(documents, f"t{i}"), size)
        for i, documents in enumerate(shards)
    ]
    held_out = []
    if validation:
        held_out.append(write_shard(folder, "validation/part-00000.tar", tokenized(validation, "v"), size))
    save_tokenizer(tokenizer, folder / "tokenizer")
    source = SourceEntry("tiny", "public domain", "made by the tests", sum(map(len, shards)) + len(validation))
    splits = {"train": train, "validation": held_out}
    Manifest(tokenizer_sha256(tokenizer), size, {}, [source], splits).save(folder)
    return folder


def make_documents(number: int = 40, vocab_size: int = 30_000, seed: int = 0) -> list[TokenizedDocument]:
    numbers = np.random.default_rng(seed)
    return [
        TokenizedDocument(
            f"d{i}",
            [
                numbers.integers(0, vocab_size, size=n).tolist()
                for n in numbers.integers(1, 400, size=numbers.integers(1, 60))
            ],
            f"Title {i}",
        )
        for i in range(number)
    ]
