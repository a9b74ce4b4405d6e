"""Second half of preparation, file by file: sentences in JSON lines -> token shards."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.extraction import read_extracted
from data_pipeline.manifest import ShardEntry
from data_pipeline.records import TokenizedDocument
from data_pipeline.shards import write_shard

DOCUMENTS_AT_A_TIME = 64
MIN_DOCUMENTS = 2


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The shards that a task wrote, and how many things it left out, by reason."""

    entries: list[ShardEntry]
    counts: Counter[str]

    def save(self, path: Path) -> None:
        """Write the list to a file."""
        path.write_text(json.dumps([[asdict(entry) for entry in self.entries], self.counts]))

    @classmethod
    def load(cls, path: Path) -> "Tokenized":
        """Read what `save` wrote."""
        entries, counts = json.loads(path.read_text())
        return cls([ShardEntry(**entry) for entry in entries], Counter(counts))


def tokenization_groups(documents: Sequence[int]) -> list[range]:
    """Group extracted files so that each group has two documents or more, where there are so many.

    A shard needs two for a random second segment, and a group is what shares no shard with others.

    Args:
        documents: Training documents of each file.

    Returns:
        Ranges of file numbers, in order.

    >>> tokenization_groups([1, 5, 0, 1, 9, 1])
    [range(0, 2), range(2, 6)]
    """
    groups: list[range] = []
    first, found = 0, 0
    for number, here in enumerate(documents):
        found += here
        if found >= MIN_DOCUMENTS:
            groups.append(range(first, number + 1))
            first, found = number + 1, 0
    if first < len(documents):
        last = groups.pop() if groups else range(first, first)
        groups.append(range(last.start, len(documents)))
    return groups


def tokenize_files(
    inputs: Iterable[Path], prefix: str, folder: Path, tokenizer: Tokenizer, shard_tokens: int, source: str = ""
) -> Tokenized:
    """Tokenise extracted documents into `<prefix>-00000.tar` and so on, each of about `shard_tokens` tokens.

    A shard closes with the document that fills it, but not with fewer than two: a random second segment always exists.

    Args:
        inputs: Files that `extract_group` wrote.
        prefix: Of the shards' names.
        folder: Where the shards are written.
        tokenizer: Used without its special tokens.
        shard_tokens: Size of a shard.
        source: What the manifest says of the shards' source.
    """
    counts: Counter[str] = Counter()
    documents = (document for path in inputs for document in _tokenized(path, tokenizer, counts))
    entries = [
        replace(write_shard(folder, f"{prefix}-{n:05d}.tar", shard, tokenizer.get_vocab_size()), source=source)
        for n, shard in enumerate(_shards(documents, shard_tokens))
    ]
    return Tokenized(entries, counts)


def _tokenized(path: Path, tokenizer: Tokenizer, counts: Counter[str]) -> Iterator[TokenizedDocument]:
    """Tokenise without special tokens; sentences and documents that have no token are left out and counted."""
    for group in _grouped(read_extracted(path)):
        flat = [sentence for record in group for sentence in record["sentences"]]
        ids = iter(encoding.ids for encoding in tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        for record in group:
            sentences = [next(ids) for _ in record["sentences"]]
            kept = [sentence for sentence in sentences if sentence]
            counts["dropped: sentence without a token"] += len(sentences) - len(kept)
            if kept:
                yield TokenizedDocument(str(record["identifier"]), kept, str(record["title"]))
            else:
                counts["dropped: document without a token"] += 1


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
        if tokens >= shard_tokens and len(shard) >= MIN_DOCUMENTS:
            if closed:
                yield closed
            closed, shard, tokens = shard, [], 0
    if len(shard) < MIN_DOCUMENTS:
        closed, shard = closed + shard, []
    yield from (part for part in (closed, shard) if part)
