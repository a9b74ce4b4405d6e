"""Second half of preparation, file by file: sentences as JSON lines -> token shards."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_pipeline.preparation.extracted_text import ExtractedText, read_records
from data_pipeline.preparation.health_counts import HealthCounts
from data_pipeline.preparation.mentions import MentionFinder
from data_pipeline.prepared.document_hashes import Hashes, document_hash, is_among
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import TokenizedDocument
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.tokenizers.word_cache import WordCache
from data_pipeline.untrusted.typed_fields import build

CHARACTERS_AT_A_TIME = 1_000_000
MIN_DOCUMENTS = 2
TRAIN = "train/"
"""Folder of the shards of the training split."""
HELD_OUT_COPY = "held-out copy of a document that is trained on"
"""Reason for which a held-out document is dropped."""


@dataclass(frozen=True, slots=True)
class TextInput:
    """A file of extracted text to tokenize.

    Attributes:
        path: Path of the file.
        source: Name of the source of the text.
        number: Number of the pass over the file, from 0 on: pass n takes the documents with more than n copies.
    """

    path: Path
    source: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Result of a task.

    Attributes:
        entries: Shards that the task wrote, in order.
        dropped: Numbers of dropped items, by source and reason.
        health: Counts of the text, each document once.
    """

    entries: list[ShardEntry]
    dropped: dict[str, Counter[str]]
    health: HealthCounts = field(default_factory=HealthCounts)

    def save(self, path: Path) -> None:
        """Write the result to a file."""
        content = [[asdict(entry) for entry in self.entries], self.dropped, self.health.to_json()]
        path.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Tokenized":
        """Read a result that `save` wrote."""
        entries, dropped, *health = json.loads(path.read_text(encoding="utf-8"))
        shards = [build(ShardEntry, entry, str(path)) for entry in entries]
        counts = [HealthCounts.from_json(each) for each in health]  # none in a listing of version 0.2
        return cls(shards, {name: Counter(dropped[name]) for name in dropped}, *counts)


def tokenization_groups(documents: Sequence[int]) -> list[range]:
    """Group extracted files so that each group has at least two documents, if there are two.

    No shard holds documents of two groups, and a shard needs two documents for a random second segment.

    Args:
        documents: Number of training documents in each file.

    Returns:
        Ranges of file numbers, in order.

    >>> tokenization_groups([1, 5, 0, 1, 9, 1])
    [range(0, 2), range(2, 6)]
    """
    groups: list[range] = []
    first, in_group = 0, 0
    for file, in_file in enumerate(documents):
        in_group += in_file
        if in_group >= MIN_DOCUMENTS:
            groups.append(range(first, file + 1))
            first, in_group = file + 1, 0
    if first < len(documents):
        last = groups.pop() if groups else range(first, first)
        groups.append(range(last.start, len(documents)))
    return groups


def tokenization_tasks(
    text: ExtractedText, passes: Sequence[Sequence[int]], names: Sequence[str], held_out: Sequence[int] = ()
) -> list[tuple[str, list[TextInput]]]:
    """Return for each task the prefix of its shards' names and its inputs; the last tasks have the held-out text.

    Second copies come after all first copies, third copies after those, and so on. No task has two copies of a
    document, so no shard has.

    Args:
        text: The extracted text.
        passes: Numbers of training documents with at least one copy, at least two, ..., for each file.
        names: Name of the source of each file.
        held_out: Number of held-out documents in each file. Every source with two of them has a task, so that its loss
            can be told apart; without the numbers there is one task.

    Raises:
        ValueError: A document is to be repeated, but every group already holds a copy of it.
    """
    groups: list[list[TextInput]] = []
    for copy in range(max(map(len, passes))):
        documents = {file: counts[copy] for file, counts in enumerate(passes) if copy < len(counts)}
        inputs = [TextInput(text.path("train", file), names[file], copy) for file in documents]
        if sum(documents.values()) >= MIN_DOCUMENTS:
            groups += [[inputs[i] for i in group] for group in tokenization_groups([*documents.values()])]
        else:
            alone = next(text for text, count in zip(inputs, documents.values(), strict=True) if count)
            _group_without(groups, alone).append(alone)
    validation = [TextInput(text.path("validation", file), name) for file, name in enumerate(names)]
    tasks = [(f"{TRAIN}part-{number:05d}", group) for number, group in enumerate(groups)]
    return [*tasks, *_held_out_tasks(validation, held_out)]


def _held_out_tasks(inputs: Sequence[TextInput], documents: Sequence[int]) -> list[tuple[str, list[TextInput]]]:
    """Return the tasks of held-out text, one for each source; one with fewer than two documents joins the next."""
    groups: list[list[TextInput]] = [[]]
    in_group = 0
    last = inputs[0].source
    for text, number in zip(inputs, documents or [0] * len(inputs), strict=True):
        if text.source != last and in_group >= MIN_DOCUMENTS:
            groups.append([])
            in_group = 0
        groups[-1].append(text)
        in_group += number
        last = text.source
    if in_group < MIN_DOCUMENTS and len(groups) > 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    if len(groups) == 1:
        return [("validation/part", groups[0])]
    return [(f"validation/part-{number:02d}", group) for number, group in enumerate(groups)]


def _group_without(groups: Sequence[list[TextInput]], alone: TextInput) -> list[TextInput]:
    """Return the last group without the file `alone`, of which a single document is to be repeated."""
    others = [group for group in groups if alone.path not in {text.path for text in group}]
    if not others:
        raise ValueError(
            f"corpus {alone.source}: its weight repeats a single document {alone.number + 1} times, and there are too "
            "few others for a shard without a copy of it; give the corpus weight 1 or more documents"
        )
    return others[-1]


@lru_cache(maxsize=1)
def word_cache(tokenizer: Path) -> WordCache:
    """Return an encoder that reads names of special tokens as plain text; the tasks of a process share its words."""
    return WordCache(plain_text_tokenizer(load_tokenizer(tokenizer)))


def tokenize_files(
    inputs: Sequence[TextInput],
    prefix: str,
    folder: Path,
    words: WordCache,
    shard_tokens: int,
    trained: Hashes | None = None,
    finder: MentionFinder | None = None,
) -> Tokenized:
    """Tokenize extracted documents into `<prefix>-00000.tar` and so on, each of about `shard_tokens` tokens.

    A shard ends with the document that fills it, but has at least two documents, so that a random second segment always
    exists.

    Args:
        inputs: Files to tokenize, in order.
        prefix: Prefix of the shards' names.
        folder: Folder of the shards.
        words: Encoder of the sentences.
        shard_tokens: Tokens of a shard.
        trained: Hashes of the documents of the training split, ascending, if the files are held-out text: copies of
            these documents are dropped.
        finder: Finder of the mentions of entities; None if the links of the text were not read.
    """
    dropped: dict[str, Counter[str]] = {text.source: Counter() for text in inputs}
    health = HealthCounts()
    tokenize = _Tokenizing(words, health, trained, finder)
    documents = (document for text in inputs for document in tokenize(text, dropped[text.source]))
    source = inputs[0].source if len(dropped) == 1 else ""
    vocab_size = words.tokenizer.get_vocab_size()
    entries = [
        replace(write_shard(folder, f"{prefix}-{n:05d}.tar", shard, vocab_size), source=source)
        for n, shard in enumerate(_shards(documents, shard_tokens))
    ]
    return Tokenized(entries, {name: +counts for name, counts in dropped.items() if +counts}, health)


@dataclass(frozen=True, slots=True)
class _Tokenizing:
    """What turns records into tokenized documents: encoder, counts, and the arguments of `tokenize_files`."""

    words: WordCache
    health: HealthCounts
    trained: Hashes | None
    finder: MentionFinder | None

    def __call__(self, text: TextInput, dropped: Counter[str]) -> Iterator[TokenizedDocument]:
        """Yield tokenized documents; special tokens and what is empty are dropped, and counted once."""
        special = special_tokens(self.words.tokenizer)
        never = {special.pad, special.cls, special.sep, special.mask}
        records = (record for record in read_records(text.path) if record["copies"] > text.number)
        for group in _grouped(records):
            flat = [sentence for record in group for sentence in record["sentences"]]
            ids = iter(self.words.encode(flat))
            for record in group:
                encoded = [next(ids) for _ in record["sentences"]]
                # Some published vocabularies turn the names of special tokens in text into special tokens.
                sentences = [s if never.isdisjoint(s) else [t for t in s if t not in never] for s in encoded]
                kept = [sentence for sentence in sentences if sentence]
                document = TokenizedDocument(str(record["identifier"]), kept, str(record["title"]))
                if self.trained is not None and is_among(document_hash(document), self.trained):
                    dropped[HELD_OUT_COPY] += 1
                    continue
                links = Counter[str]()
                if self.finder is not None and "links" in record:
                    document = replace(document, mentions=self.finder.find(record["links"], kept, links))
                if text.number == 0:
                    dropped["special token in the text"] += sum(map(len, encoded)) - sum(map(len, sentences))
                    dropped["sentence without a token"] += len(sentences) - len(kept)
                    dropped["document without a token"] += not kept
                    self.health.add(record["sentences"], sentences, self.words, special.unk)
                    self.health.totals += links
                if kept:
                    yield document


def _grouped(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Group documents: enough text for all threads of the tokenizer, and little enough for the memory."""
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
    """Group documents into shards; if the last document would be alone, it joins the shard before."""
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
    yield from (group for group in (closed, shard) if group)
