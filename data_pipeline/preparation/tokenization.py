"""Second half of preparation, file by file: sentences in JSON lines -> token shards."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.preparation.extracted_text import ExtractedText, read_records
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import TokenizedDocument
from data_pipeline.tokenizers.tokenizer import plain_text_tokenizer, special_tokens

CHARACTERS_AT_A_TIME = 1_000_000
MIN_DOCUMENTS = 2


@dataclass(frozen=True, slots=True)
class TextInput:
    """A file of extracted text to tokenise.

    Attributes:
        path: The file.
        source: Name of the source that the text is from.
        number: Which pass over the file this is: pass n takes the documents that are seen more than n times.
    """

    path: Path
    source: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The shards that a task wrote, and how many things it left out, by source and reason."""

    entries: list[ShardEntry]
    dropped: dict[str, Counter[str]]

    def save(self, path: Path) -> None:
        """Write the list to a file."""
        path.write_text(json.dumps([[asdict(entry) for entry in self.entries], self.dropped]))

    @classmethod
    def load(cls, path: Path) -> "Tokenized":
        """Read what `save` wrote."""
        entries, dropped = json.loads(path.read_text())
        return cls(
            [ShardEntry.from_json(entry) for entry in entries], {name: Counter(dropped[name]) for name in dropped}
        )


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


def tokenization_tasks(
    text: ExtractedText, passes: Sequence[Sequence[int]], names: Sequence[str]
) -> list[tuple[str, list[TextInput]]]:
    """Return what each task tokenises and how its shards' names begin; the last task does all held-out text.

    The copies of a document come after all that is there once, and no task has two of them, so they share no shard.

    Args:
        text: The extracted text.
        passes: Of each file, how many training documents are seen at least once, at least twice, ...
        names: Of each file, the source it is from.

    Raises:
        ValueError: where a document is to be repeated and all other documents stand with a copy of it already.
    """
    groups: list[list[TextInput]] = []
    for number in range(max(map(len, passes))):
        documents = {file: counts[number] for file, counts in enumerate(passes) if number < len(counts)}
        inputs = [TextInput(text.path("train", file), names[file], number) for file in documents]
        if sum(documents.values()) >= MIN_DOCUMENTS:
            groups += [[inputs[i] for i in group] for group in tokenization_groups([*documents.values()])]
        else:
            alone = next(text for text, found in zip(inputs, documents.values(), strict=True) if found)
            _group_without(groups, alone).append(alone)
    held_out = [TextInput(text.path("validation", file), name) for file, name in enumerate(names)]
    tasks = [(f"train/part-{number:05d}", group) for number, group in enumerate(groups)]
    return [*tasks, ("validation/part", held_out)]


def _group_without(groups: Sequence[list[TextInput]], alone: TextInput) -> list[TextInput]:
    """Return the last group that has nothing of a file of which a single document is to be repeated."""
    others = [group for group in groups if alone.path not in {text.path for text in group}]
    if not others:
        raise ValueError(
            f"corpus {alone.source}: its weight repeats a single document {alone.number + 1} times, and there are too "
            "few others for a shard without a copy of it; give the corpus weight 1 or more documents"
        )
    return others[-1]


def tokenize_files(
    inputs: Sequence[TextInput], prefix: str, folder: Path, tokenizer: Tokenizer, shard_tokens: int
) -> Tokenized:
    """Tokenise extracted documents into `<prefix>-00000.tar` and so on, each of about `shard_tokens` tokens.

    A shard closes with the document that fills it, but not with fewer than two: a random second segment always exists.

    Args:
        inputs: What to tokenise, in order.
        prefix: Of the shards' names.
        folder: Where the shards are written.
        tokenizer: Used without its special tokens, whose names in the text are text.
        shard_tokens: Size of a shard.
    """
    dropped: dict[str, Counter[str]] = {text.source: Counter() for text in inputs}
    plain = plain_text_tokenizer(tokenizer)
    documents = (document for text in inputs for document in _tokenized(text, plain, dropped[text.source]))
    source = inputs[0].source if len(dropped) == 1 else ""
    entries = [
        replace(write_shard(folder, f"{prefix}-{n:05d}.tar", shard, tokenizer.get_vocab_size()), source=source)
        for n, shard in enumerate(_shards(documents, shard_tokens))
    ]
    return Tokenized(entries, {name: +counts for name, counts in dropped.items() if +counts})


def _tokenized(text: TextInput, tokenizer: Tokenizer, dropped: Counter[str]) -> Iterator[TokenizedDocument]:
    """Tokenise; special tokens, sentences and documents that have no token are left out, and counted once."""
    special = special_tokens(tokenizer)
    never = {special.pad, special.cls, special.sep, special.mask}
    records = (record for record in read_records(text.path) if record["copies"] > text.number)
    for group in _grouped(records):
        flat = [sentence for record in group for sentence in record["sentences"]]
        ids = iter(encoding.ids for encoding in tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        for record in group:
            encoded = [next(ids) for _ in record["sentences"]]
            # Some published vocabularies find a special token's name in text by themselves.
            sentences = [s if never.isdisjoint(s) else [token for token in s if token not in never] for s in encoded]
            kept = [sentence for sentence in sentences if sentence]
            if text.number == 0:
                dropped["special token in the text"] += sum(map(len, encoded)) - sum(map(len, sentences))
                dropped["sentence without a token"] += len(sentences) - len(kept)
                dropped["document without a token"] += not kept
            if kept:
                yield TokenizedDocument(str(record["identifier"]), kept, str(record["title"]))


def _grouped(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Group documents so that a call to the tokenizer has work for all its threads and never much to remember."""
    group: list[dict[str, Any]] = []
    characters = 0
    for record in records:
        group.append(record)
        characters += sum(map(len, record["sentences"]))
        if characters >= CHARACTERS_AT_A_TIME:
            yield group
            group, characters = [], 0
    if group:
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
