"""Text in, a prepared folder out.

    input --extract--> sentences --deduplicate--> --train--> tokenizer --tokenise--> token shards --> manifest, rename

Everything is put together in a hidden folder beside the output and renamed at the end, so the output is whole or
absent. A run that was killed, or ended with an error, continues there with the tasks that had not finished, stage by
stage as far as their settings are the same; the result is the same to the byte.
"""

import errno
import hashlib
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import Tokenizer

from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation import tokenization
from data_pipeline.preparation.deduplication import MinHashDeduplication
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import TITLES_LISTED, ExtractedText, ExtractionReport
from data_pipeline.preparation.extraction import InputGroup, extract_group, group_parts
from data_pipeline.preparation.held_out import fill_held_out
from data_pipeline.preparation.tokenization import TextInput, Tokenized
from data_pipeline.preparation.work_folder import WorkFolder, sync
from data_pipeline.prepared.manifest import FILE_NAME, Manifest, SourceEntry
from data_pipeline.tokenizers.tokenizer import load_tokenizer, save_tokenizer, tokenizer_sha256
from data_pipeline.whole_numbers import check_whole_number

_SETTINGS_OF_STAGES = {
    "read": ("input_sha256", "validation_fraction", "filters"),
    "unique": ("deduplication",),
    "held-out": (),
    "tokenizer": ("tokenizer", "sample_bytes"),
    "shards": ("shard_tokens",),
}
"""What decides the result of each stage, beside what decides those before it."""
TokenizerSource = Callable[[Callable[[], Sequence[str]]], Tokenizer]
"""Makes the tokenizer; given a function that returns texts to train on, called only where there is training."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The settings of a preparation.

    Attributes:
        output_dir: The folder to write; it must not exist, be empty, or hold the same preparation.
        validation_fraction: Share of the documents that is held out; of eight and more, two at least.
        shard_tokens: Tokens of a shard; about two bytes each.
        group_bytes: Input read by one task.
        sample_bytes: Text the tokenizer is trained on.
        filters: Which documents are kept.
        deduplication: How near duplicates are found; None keeps them.
    """

    output_dir: Path
    validation_fraction: float = 0.005
    shard_tokens: int = 1_000_000
    group_bytes: int = 16_000_000
    sample_bytes: int = 200_000_000
    filters: DocumentFilters = field(default_factory=DocumentFilters)
    deduplication: MinHashDeduplication | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.validation_fraction, float | int) or not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1), not {self.validation_fraction!r}")
        for name in ("shard_tokens", "group_bytes", "sample_bytes"):
            check_whole_number(name, getattr(self, name))

    @property
    def work(self) -> WorkFolder:
        """Where the output is put together: a hidden folder beside it."""
        return WorkFolder(self.output_dir.parent / f".{self.output_dir.name}.preparing")

    def run(
        self,
        sources: Sequence[Reader],
        make_tokenizer: TokenizerSource,
        tokenizer_settings: dict[str, Any],
        executor: Executor,
    ) -> tuple[Manifest, Counter[str]]:
        """Prepare a corpus, or return the one that is there already if it was made of the same.

        Returns:
            The manifest, and how many documents, sentences and bytes were read and what was dropped, by reason.

        Raises:
            ValueError: where input is missing or not what it should be, or the folder holds something else.
        """
        groups = group_parts(sources, self.group_bytes)
        settings = self._settings(sources, groups, tokenizer_settings)
        if manifest := self._existing(settings):
            return manifest, Counter()
        new_parents = [parent for parent in self.work.path.parents if not parent.exists()]
        with self.work.locked():
            if manifest := self._existing(settings):
                return manifest, Counter()
            stages = self._stages(settings)
            try:
                manifest, counts = self._prepare(groups, make_tokenizer, executor, settings, stages)
                self._publish(manifest, stages)
            except (ValueError, OSError) as error:
                self._give_up(error, new_parents)
        return manifest, counts

    def _prepare(
        self,
        groups: list[InputGroup],
        make_tokenizer: TokenizerSource,
        executor: Executor,
        settings: dict[str, Any],
        stages: Mapping[str, WorkFolder],
    ) -> tuple[Manifest, Counter[str]]:
        text = self._text(groups, executor, stages)
        reports = [text.report(number) for number in range(len(groups))]
        self._check_documents(reports)
        tokenizer = self._tokenizer(make_tokenizer, text, len(groups), stages["tokenizer"])
        names = [group.reader.name for group in groups]
        tasks = tokenization.tokenization_tasks(text, [report.passes for report in reports], names)
        shards = stages["shards"]
        tokenize = partial(_tokenize, shards, stages["tokenizer"], self.shard_tokens, tasks)
        executor.run("tokenising", tokenize, len(tasks), shards.tasks("tokenize"))
        *train, validation = (Tokenized.load(shards.listing(number)) for number in range(len(tasks)))
        splits = {"train": [entry for part in train for entry in part.entries], "validation": validation.entries}
        entries = _source_entries(groups, reports, [*train, validation])
        manifest = Manifest(tokenizer_sha256(tokenizer), tokenizer.get_vocab_size(), settings, entries, splits)
        counts = sum((report.counts for report in reports), Counter())
        for entry in entries:
            counts.update({f"dropped: {reason}": number for reason, number in entry.dropped.items()})
        return manifest, counts

    def _text(self, groups: list[InputGroup], executor: Executor, stages: Mapping[str, WorkFolder]) -> ExtractedText:
        extract = partial(_extract, groups, stages["read"], self.validation_fraction, self.filters)
        executor.run("reading", extract, len(groups), stages["read"].tasks("extract"))
        text = stages["read"].text("text")
        if self.deduplication is not None:
            text = self.deduplication.run(stages["unique"], text, len(groups), executor)
        reports = [text.report(number) for number in range(len(groups))]
        return fill_held_out(stages["held-out"], text, reports, self.validation_fraction, executor)

    def _publish(self, manifest: Manifest, stages: Mapping[str, WorkFolder]) -> None:
        """Write tokenizer and manifest and give the folder its name: from now on it is prepared."""
        output = stages["shards"].output
        shutil.copytree(stages["tokenizer"].folder("tokenizer"), output / "tokenizer", dirs_exist_ok=True)
        manifest.save(output)
        for path in [*(output / "tokenizer").iterdir(), *(path for path in output.iterdir() if path.is_dir()), output]:
            sync(path)
        self.output_dir.parent.mkdir(parents=True, exist_ok=True)
        if self.output_dir.exists():
            self.output_dir.rmdir()
        output.rename(self.output_dir)
        sync(self.output_dir.parent)
        self.work.remove()

    def _give_up(self, error: ValueError | OSError, new_parents: Sequence[Path]) -> NoReturn:
        """Say where finished work is kept, or leave nothing where there is none."""
        kept = f"finished work is kept in {self.work.path}, and a rerun continues there"
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, f"the disk of {self.work.path} is full; {kept}") from error
            raise error
        if self.work.has_finished_tasks():
            raise ValueError(f"{error}; {kept}") from error
        self.work.remove()
        for parent in new_parents:
            parent.rmdir()
        raise error

    def _stages(self, settings: Mapping[str, Any]) -> dict[str, WorkFolder]:
        """Return the folder of each stage, named after all settings that decide what comes out of it."""
        stages, decisive = {}, {}
        for stage, names in _SETTINGS_OF_STAGES.items():
            decisive.update({name: settings[name] for name in names})
            stages[stage] = self.work.stage(stage, decisive)
        self.work.keep(stages.values())
        return stages

    def _settings(
        self, sources: Sequence[Reader], groups: list[InputGroup], tokenizer_settings: dict[str, Any]
    ) -> dict[str, Any]:
        contents = [reader.content_sha256() for reader in sources]
        readers = [{name: value for name, value in vars(reader).items() if name != "path"} for reader in sources]
        parts = [[group.reader.name, *((p.bytes, p.begin, p.end) for p in group.parts)] for group in groups]
        content = json.dumps([contents, readers, parts], default=str)
        settings = {
            "input_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "validation_fraction": self.validation_fraction,
            "shard_tokens": self.shard_tokens,
            "sample_bytes": self.sample_bytes,
            "filters": dict(self.filters.settings),
            "deduplication": self.deduplication and self.deduplication.settings,
            "tokenizer": tokenizer_settings,
        }
        return dict(json.loads(json.dumps(settings, default=str)))

    def _existing(self, settings: dict[str, Any]) -> Manifest | None:
        """Return the manifest of what is there already; ValueError where it is something else."""
        if not (self.output_dir / FILE_NAME).exists():
            if self.output_dir.is_file() or (self.output_dir.exists() and any(self.output_dir.iterdir())):
                raise ValueError(f"output_dir={self.output_dir} is not empty and not a prepared folder")
            return None
        manifest = Manifest.load(self.output_dir)
        self.work.remove()
        if manifest.settings != settings:
            differing = [name for name in settings if manifest.settings.get(name) != settings[name]]
            raise ValueError(
                f"output_dir={self.output_dir} holds another preparation, with another {', '.join(differing)}; "
                "choose another folder or remove it"
            )
        return manifest

    def _check_documents(self, reports: Sequence[ExtractionReport]) -> None:
        number = sum(report.counts["documents"] for report in reports)
        dropped = [reason for reason in sum((r.counts for r in reports), Counter()) if reason.startswith("dropped: ")]
        if number == 0:
            why = f" ({', '.join(sorted(dropped))})" if dropped else ""
            raise ValueError(f"the corpus is empty: its files hold no document with text that is kept{why}")
        if number == 1:
            raise ValueError(
                "the corpus has a single document: sentence pairs need a second one, and a held-out split as well"
            )
        held_out = sum(report.held_out for report in reports)
        for split, found, least in (
            ("train", number - held_out, tokenization.MIN_DOCUMENTS),
            ("validation", held_out, tokenization.MIN_DOCUMENTS if self.validation_fraction else 0),
        ):
            if found < least:
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {number} documents leaves {found} for {split}; "
                    "a split needs two for sentence pairs (0 holds none out)"
                )

    def _tokenizer(self, make: TokenizerSource, text: ExtractedText, num_files: int, work: WorkFolder) -> Tokenizer:
        done = work.folder("tasks") / "done"
        if not done.exists():
            paths = [text.path("train", number) for number in range(num_files)]
            with work.delivered() as own:
                save_tokenizer(make(lambda: _sample(paths, self.sample_bytes)), own.folder("tokenizer"))
            done.touch()
        return load_tokenizer(work.folder("tokenizer"))


def _extract(
    groups: list[InputGroup], work: WorkFolder, validation_fraction: float, filters: DocumentFilters, number: int
) -> None:
    with work.delivered() as own:
        extract_group(groups[number], number, own.text("text"), validation_fraction, filters)


def _tokenize(
    work: WorkFolder, trained: WorkFolder, shard_tokens: int, tasks: list[tuple[str, list[TextInput]]], number: int
) -> None:
    prefix, inputs = tasks[number]
    tokenizer = load_tokenizer(trained.folder("tokenizer"))
    with work.delivered() as own:
        tokenization.tokenize_files(inputs, prefix, own.output, tokenizer, shard_tokens).save(own.listing(number))


def _sample(paths: Sequence[Path], sample_bytes: int) -> list[str]:
    """Return about `sample_bytes` of text, whole documents chosen by their hash, each as often as it is seen."""
    total = sum(path.stat().st_size for path in paths)
    limit = 2**32 if total <= sample_bytes else int(sample_bytes / total * 2**32)
    return list(chain.from_iterable(_sampled(path, limit) for path in paths))


def _sampled(path: Path, limit: int) -> Iterator[str]:
    with path.open("rb") as lines:
        for line in lines:
            if zlib.crc32(line) < limit:
                record = json.loads(line)
                yield from [" ".join(record["sentences"])] * record["copies"]


def _source_entries(
    groups: list[InputGroup], reports: Sequence[ExtractionReport], tokenized: Sequence[Tokenized]
) -> list[SourceEntry]:
    """Return what the manifest says of every source; titles beyond the first are in the shards only."""
    entries = []
    for reader in {group.reader.name: group.reader for group in groups}.values():
        own = [report for group, report in zip(groups, reports, strict=True) if group.reader.name == reader.name]
        counts = sum((report.counts for report in own), Counter())
        dropped = Counter({r.removeprefix("dropped: "): n for r, n in counts.items() if r.startswith("dropped: ")})
        for part in tokenized:
            dropped.update(part.dropped.get(reader.name, {}))
        titles = list(islice(chain.from_iterable(report.titles for report in own), TITLES_LISTED))
        about = (reader.name, reader.licence, reader.origin, counts["documents"], titles, reader.weight)
        entries.append(SourceEntry(*about, dropped=dict(sorted(dropped.items()))))
    return entries
