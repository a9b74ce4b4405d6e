"""A prepared folder whose text mentions entities: every king, queen, city and river of the made-up language."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data_pipeline.knowledge.entity_table import TITLES, VECTORS, encode_titles
from data_pipeline.prepared.manifest import FileEntry, KnowledgeEntry, Manifest
from data_pipeline.prepared.npy import npy
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import Mention, TokenizedDocument
from tests.support.texts import tiny_texts, write_prepared

TITLED = ["king", "queen", "city", "river", "house", "garden"]
"""Words that name an entity wherever they stand."""


def write_linked(folder: Path, tokenizer: Tokenizer, entity_size: int = 8, seed: int = 0) -> Path:
    """Write a folder like the fixture `prepared`, with mentions.

    Args:
        folder: Where.
        tokenizer: The tokenizer.
        entity_size: Length of the vectors.
        seed: Seed of the vectors.
    """
    shards = [tiny_texts(12, seed=shard + 1) for shard in range(9)]
    write_prepared(folder, tokenizer, shards, tiny_texts(15, seed=99))
    manifest, size = Manifest.load(folder), tokenizer.get_vocab_size()
    splits = {
        split: [
            write_shard(folder, entry.name, [with_mentions(text, tokenizer) for text in texts], size)
            for entry, texts in zip(entries, shards if split == "train" else [tiny_texts(15, seed=99)], strict=True)
        ]
        for split, entries in manifest.splits.items()
    }
    vectors = np.random.default_rng(seed).normal(size=(len(TITLED), entity_size)).astype(np.float32)
    contents = {TITLES: encode_titles([word.title() for word in TITLED]), VECTORS: npy(vectors)}
    files = {}
    (folder / "entities").mkdir()
    for kind, content in contents.items():
        (folder / "entities" / kind).write_bytes(content)
        files[kind] = FileEntry(f"entities/{kind}", len(content), hashlib.sha256(content).hexdigest())
    knowledge = KnowledgeEntry(len(TITLED), 0, entity_size, files)
    replace(manifest, splits=splits, knowledge=knowledge).save(folder)
    return folder


def with_mentions(sentences: list[str], tokenizer: Tokenizer) -> TokenizedDocument:
    """Return a document with the mentions of all words of `TITLED`."""
    ids: list[list[int]] = []
    mentions = []
    for sentence in sentences:
        encoding = tokenizer.encode(sentence, add_special_tokens=False)
        first = sum(map(len, ids))
        for number, word in enumerate(sentence.split()):
            begin, end = encoding.word_to_tokens(number)  # type: ignore[misc]
            if word in TITLED:
                mentions.append(Mention(first + begin, end - begin, TITLED.index(word)))
        ids.append(encoding.ids)
    return TokenizedDocument(sentences[0], ids, mentions=mentions)
