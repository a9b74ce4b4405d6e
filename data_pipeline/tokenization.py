"""Second half of preparation, file by file: sentences in JSON lines -> token shards."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.extraction import read_extracted
from data_pipeline.manifest import ShardEntry
from data_pipeline.records import TokenizedDocument
from data_pipeline.shards import write_shard

DOCUMENTS_AT_A_TIME = 64


def tokenize_files(
    inputs: Iterable[Path], prefix: str, folder: Path, listing: Path, tokenizer: Tokenizer, shard_tokens: int
) -> None:
    """Tokenise extracted documents into `<prefix>-00000.tar` and so on, each of about `shard_tokens` tokens.

    A shard closes with the document that fills it, but not with fewer than two: a random second segment always exists.
    What the manifest will say of the shards goes to the file `listing`.
    """
    documents = (document for path in inputs for document in _tokenized(path, tokenizer))
    entries = [
        write_shard(folder, f"{prefix}-{number:05d}.tar", shard, tokenizer.get_vocab_size())
        for number, shard in enumerate(_shards(documents, shard_tokens))
    ]
    listing.write_text(json.dumps([asdict(entry) for entry in entries]))


def read_listing(listing: Path) -> list[ShardEntry]:
    """Return the entries that `tokenize_files` left behind."""
    return [ShardEntry(**entry) for entry in json.loads(listing.read_text())]


def _tokenized(path: Path, tokenizer: Tokenizer) -> Iterator[TokenizedDocument]:
    """Tokenise without special tokens; sentences and documents that have no token are left out."""
    for group in _grouped(read_extracted(path)):
        flat = [sentence for record in group for sentence in record["sentences"]]
        ids = iter(encoding.ids for encoding in tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        for record in group:
            sentences = [next(ids) for _ in record["sentences"]]
            kept = [sentence for sentence in sentences if sentence]
            if kept:
                yield TokenizedDocument(str(record["identifier"]), kept, str(record["title"]))


def _grouped(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Group documents so that one call to the tokenizer has work for all its threads."""
    while group := list(islice(records, DOCUMENTS_AT_A_TIME)):
        yield group


def _shards(documents: Iterable[TokenizedDocument], shard_tokens: int) -> Iterator[list[TokenizedDocument]]:
    """Group documents into shards; a last one of a single document joins the one before."""
    closed: list[TokenizedDocument] = []
    shard: list[TokenizedDocument] = []
    tokens = 0
    for document in documents:
        shard.append(document)
        tokens += sum(map(len, document.sentences))
        if tokens >= shard_tokens and len(shard) > 1:
            if closed:
                yield closed
            closed, shard, tokens = shard, [], 0
    if len(shard) == 1:
        closed, shard = closed + shard, []
    yield from (part for part in (closed, shard) if part)
