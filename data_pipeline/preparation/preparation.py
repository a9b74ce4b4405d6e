"""Preparation of a corpus: text in, a prepared folder out.

    input --extract--> sentences --deduplicate--> --train--> tokenizer --tokenize--> token shards --> manifest, rename

The output is built in a hidden folder beside it and renamed at the end, so the output is either whole or absent. If a
run was killed or ended with an error, the next run continues in the hidden folder with the unfinished tasks. Stages
whose settings have changed start again. The result is the same to the byte.
"""

import errno
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import Tokenizer

from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation import tokenization
from data_pipeline.preparation.bad_input import check_input
from data_pipeline.preparation.deduplication import MinHashDeduplication
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.entity_stage import EntitySettings, EntityStage
from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import ExtractedText, ExtractionReport, sample_texts
from data_pipeline.preparation.extraction import InputGroup, extract_group, group_parts
from data_pipeline.preparation.held_out import fill_held_out
from data_pipeline.preparation.interruptible import interruptible
from data_pipeline.preparation.kept_settings import differences, input_settings
from data_pipeline.preparation.output_folder import OutputFolder
from data_pipeline.preparation.source_entries import corpus_figures, source_entries
from data_pipeline.preparation.token_stage import TokenStage
from data_pipeline.preparation.work_folder import WorkFolder, copy_to_disk, sync
from data_pipeline.prepared.manifest import KnowledgeEntry, Manifest
from data_pipeline.tokenizers.tokenizer import load_tokenizer, tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from data_pipeline.whole_numbers import check_whole_number, number_of

_SETTINGS_OF_STAGES = {
    "read": ("input_sha256", "validation_fraction", "filters", "formatters"),
    "unique": ("deduplication",),
    "held-out": (),
    "tokenizer": ("tokenizer", "sample_bytes"),
    "entities": ("entities",),
    "shards": ("shard_tokens",),
}
"""Settings that decide the result of each stage, in addition to those of the stages before it."""
TokenizerSource = Callable[[Callable[[], Sequence[str]]], Tokenizer]
"""Function that makes the tokenizer; its argument returns the texts to train on, and is called only for training."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The settings of a preparation.

    Attributes:
        output_dir: Folder to write; it must be absent, be empty, or hold the same preparation.
        validation_fraction: Share of the documents that is held out; at least two of eight or more documents.
        shard_tokens: Tokens of a shard; a token takes about two bytes.
        group_bytes: Bytes of input that one task reads.
        sample_bytes: Bytes of text on which the tokenizer is trained.
        filters: Formatters that change documents, and filters that drop them.
        deduplication: Method that finds near duplicates; None keeps them.
        entities: Settings of the entities, for sources with links.
    """

    output_dir: Path
    validation_fraction: float = 0.005
    shard_tokens: int = 1_000_000
    group_bytes: int = 16_000_000
    sample_bytes: int = 200_000_000
    filters: DocumentFilters = field(default_factory=DocumentFilters)
    deduplication: MinHashDeduplication | None = None
    entities: EntitySettings = field(default_factory=EntitySettings)

    def __post_init__(self) -> None:
        if not isinstance(self.validation_fraction, float | int) or not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1); got {self.validation_fraction!r}")
        for name in ("shard_tokens", "group_bytes", "sample_bytes"):
            check_whole_number(name, getattr(self, name))

    @property
    def output(self) -> OutputFolder:
        """The folder to write, at the end of the links that lead to it."""
        return OutputFolder.named(self.output_dir)

    @property
    def work(self) -> WorkFolder:
        """Hidden folder beside the output, in which the output is built."""
        return self.output.work

    def run(
        self,
        sources: Sequence[Reader],
        make_tokenizer: TokenizerSource,
        tokenizer_settings: dict[str, Any],
        executor: Executor,
    ) -> tuple[Manifest, Counter[str]]:
        """Prepare a corpus, unless the output folder already holds this preparation.

        Args:
            sources: Readers of the corpus.
            make_tokenizer: Function that trains or returns the tokenizer.
            tokenizer_settings: Settings of the tokenizer, for the manifest.
            executor: Executor of the tasks.

        Returns:
            The manifest, and counts: documents, sentences and bytes read, and items dropped, by reason. The counts
            are empty if there was nothing to do.

        Raises:
            ValueError: Input is missing or malformed, or the output folder holds something else.
        """
        self.output.manifest()
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
            except (ValueError, OSError, KeyboardInterrupt) as error:
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
        reports = text.reports(len(groups))
        self._check_documents(reports)
        tokenizer = self._tokenizer(make_tokenizer, text, len(groups), stages["tokenizer"])
        names = [group.reader.name for group in groups]
        held_out_documents = [report.held_out for report in reports]
        tasks = tokenization.tokenization_tasks(text, [report.passes for report in reports], names, held_out_documents)
        knowledge = self._knowledge(groups, text, executor, stages) if "entities" in settings else None
        entities = stages["entities"] if knowledge else None
        stage = TokenStage(stages["shards"], stages["tokenizer"], self.shard_tokens, entities, tasks)
        train, held_out = stage.run(executor, self.validation_fraction)
        splits = {
            split: [entry for task in of_split for entry in task.entries]
            for split, of_split in (("train", train), ("validation", held_out))
        }
        entries = source_entries(groups, reports, [*train, *held_out], text)
        health = corpus_figures(stages["shards"].output, splits, [*train, *held_out], groups, reports)
        if knowledge:
            health["entities"] = knowledge.num_entities
        manifest = Manifest(
            tokenizer_sha256=tokenizer_sha256(tokenizer),
            vocab_size=tokenizer.get_vocab_size(),
            settings=settings,
            sources=entries,
            splits=splits,
            health=health,
            knowledge=knowledge,
        )
        counts = sum((report.counts for report in reports), Counter[str]())
        counts = Counter({name: number for name, number in counts.items() if not name.startswith("dropped: ")})
        for entry in entries:
            counts.update({f"dropped: {reason}": number for reason, number in entry.dropped.items()})
        return manifest, counts

    def _text(self, groups: list[InputGroup], executor: Executor, stages: Mapping[str, WorkFolder]) -> ExtractedText:
        extract = partial(_extract, groups, stages["read"], self.validation_fraction, self.filters)
        executor.run("reading", extract, len(groups), stages["read"].tasks("extract"))
        text = stages["read"].text("text")
        check_input(groups, text.reports(len(groups)), stages["read"], self.output.bad_input)
        if self.deduplication is not None:
            text = self.deduplication.run(stages["unique"], text, len(groups), executor)
        return fill_held_out(stages["held-out"], text, text.reports(len(groups)), self.validation_fraction, executor)

    def _knowledge(
        self, groups: list[InputGroup], text: ExtractedText, executor: Executor, stages: Mapping[str, WorkFolder]
    ) -> KnowledgeEntry:
        """Find the entities, and put their files into the output."""
        read = stages["read"].text("text")
        stage = EntityStage(stages["entities"], text, read, len(groups), self.entities)
        entry = stage.run(executor)
        stage.deliver(stages["shards"].output)
        return entry

    def _publish(self, manifest: Manifest, stages: Mapping[str, WorkFolder]) -> None:
        """Write tokenizer and manifest, and rename the folder to its final name."""
        output = stages["shards"].output
        copy_to_disk(stages["tokenizer"].folder("tokenizer"), output / "tokenizer")
        manifest.save(output)
        for path in [*(path for path in output.iterdir() if path.is_dir()), output]:
            sync(path)
        self.output.publish(output)
        self.work.remove()

    def _give_up(self, error: ValueError | OSError | KeyboardInterrupt, new_parents: Sequence[Path]) -> NoReturn:
        """Raise the error and name the folder of finished work, or remove the folder if no work is finished."""
        kept = f"finished work is kept in {self.work.path}, and a rerun with the same input continues there"
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, f"the disk of {self.work.path} is full; {kept}") from error
            raise error
        if self.work.has_finished_tasks():
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from None
            raise ValueError(f"{error}; {kept}") from error
        self.work.remove()
        for parent in new_parents:
            if not any(parent.iterdir()):
                parent.rmdir()
        raise error

    def _stages(self, settings: Mapping[str, Any]) -> dict[str, WorkFolder]:
        """Return the folder of each stage; its name is a hash of all settings that decide the stage's result."""
        stages, decisive = {}, {}
        for stage, names in _SETTINGS_OF_STAGES.items():
            decisive.update({name: settings[name] for name in names if name in settings})
            stages[stage] = self.work.stage(stage, decisive)
        self.work.keep(stages.values())
        return stages

    def _settings(
        self, sources: Sequence[Reader], groups: list[InputGroup], tokenizer_settings: dict[str, Any]
    ) -> dict[str, Any]:
        settings = {
            **input_settings(sources, groups, self.group_bytes),
            "validation_fraction": self.validation_fraction,
            "shard_tokens": self.shard_tokens,
            "sample_bytes": self.sample_bytes,
            "filters": dict(self.filters.settings),
            "deduplication": self.deduplication and self.deduplication.settings,
            "tokenizer": tokenizer_settings,
        }
        if any(reader.links for reader in sources):
            settings["entities"] = asdict(self.entities)
        if self.filters.formatters:
            settings["formatters"] = dict(self.filters.formatter_settings)
        return dict(json.loads(json.dumps(settings, default=str)))

    def _existing(self, settings: dict[str, Any]) -> Manifest | None:
        """Return the manifest of the output folder, None if it is empty; ValueError if it holds something else."""
        if (manifest := self.output.manifest()) is None:
            return None
        self.work.remove()
        if differing := differences(manifest.settings, settings):
            raise ValueError(
                f"output_dir={self.output_dir} holds another preparation: {'; '.join(differing)}; choose another "
                "folder or remove it"
            )
        return manifest

    def _check_documents(self, reports: Sequence[ExtractionReport]) -> None:
        num_documents = sum(report.counts["documents"] for report in reports)
        dropped = [reason for reason in sum((r.counts for r in reports), Counter()) if reason.startswith("dropped: ")]
        if num_documents == 0:
            why = f" ({', '.join(sorted(dropped))})" if dropped else ""
            raise ValueError(f"the corpus is empty: its files hold no document with text that is kept{why}")
        if num_documents == 1:
            raise ValueError("the corpus has a single document; pairs and a held-out split need a second one")
        held_out = sum(report.held_out for report in reports)
        for split, count, least in (
            ("train", num_documents - held_out, tokenization.MIN_DOCUMENTS),
            ("validation", held_out, tokenization.MIN_DOCUMENTS if self.validation_fraction else 0),
        ):
            if count < least:
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {number_of(num_documents, 'document')} leaves "
                    f"{count} for {split}; a split needs two for sentence pairs (0 holds out none)"
                )

    def _tokenizer(self, make: TokenizerSource, text: ExtractedText, num_files: int, work: WorkFolder) -> Tokenizer:
        done = work.folder("tasks") / "done"
        if not done.exists():
            paths = [text.path("train", number) for number in range(num_files)]
            with work.delivered() as scratch:
                tokenizer = interruptible(partial(make, partial(sample_texts, paths, self.sample_bytes)))
                save_tokenizer(tokenizer, scratch.folder("tokenizer"))
            done.touch()
        return load_tokenizer(work.folder("tokenizer"))


def _extract(
    groups: list[InputGroup], work: WorkFolder, validation_fraction: float, filters: DocumentFilters, number: int
) -> None:
    with work.delivered() as scratch:
        extract_group(groups[number], number, scratch.text("text"), validation_fraction, filters)
