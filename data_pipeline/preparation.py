"""Text in, a prepared folder out.

    input files --extract--> sentences --train--> tokenizer --tokenise--> token shards --> manifest, rename

Everything is put together in a hidden folder beside the output and renamed at the end, so the output is whole or
absent. A run that was killed continues there with the tasks that had not finished; the result is the same to the byte.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.corpora.reader import Reader
from data_pipeline.executors import Executor
from data_pipeline.extraction import InputGroup, extract_group, group_files, read_extracted
from data_pipeline.manifest import FILE_NAME, Manifest, SourceEntry
from data_pipeline.tokenization import read_listing, tokenize_files
from data_pipeline.tokenizer import load_tokenizer, save_tokenizer, tokenizer_sha256

TITLES_LISTED = 20_000
"""Most titles of a source that the manifest lists; all are in the shards."""

TokenizerSource = Callable[[Callable[[], Sequence[str]]], Tokenizer]
"""Makes the tokenizer; given a function that returns texts to train on, called only where there is training."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The settings of a preparation.

    Attributes:
        output_dir: The folder to write; it must not exist, be empty, or hold the same preparation.
        validation_fraction: Share of the documents that is held out.
        shard_tokens: Tokens of a shard; about two bytes each.
        group_bytes: Input read by one task.
        sample_bytes: Text the tokenizer is trained on.
    """

    output_dir: Path
    validation_fraction: float = 0.005
    shard_tokens: int = 1_000_000
    group_bytes: int = 16_000_000
    sample_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1), not {self.validation_fraction}")
        for name in ("shard_tokens", "group_bytes", "sample_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @property
    def work_dir(self) -> Path:
        """Where the output is put together: a hidden folder beside it."""
        return self.output_dir.parent / f".{self.output_dir.name}.preparing"

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
        groups = group_files(sources, self.group_bytes)
        settings = self._settings(groups, tokenizer_settings)
        if (self.output_dir / FILE_NAME).exists():
            return self._existing(settings), Counter()
        if self.output_dir.exists() and any(self.output_dir.iterdir()):
            raise ValueError(f"output_dir={self.output_dir} is not empty and not a prepared folder")
        self._open_work_dir(settings)
        try:
            manifest, counts = self._prepare(groups, make_tokenizer, executor, settings)
            self._publish(manifest)
        except ValueError:
            shutil.rmtree(self.work_dir)
            raise
        return manifest, counts

    def _prepare(
        self,
        groups: list[InputGroup],
        make_tokenizer: TokenizerSource,
        executor: Executor,
        settings: dict[str, Any],
    ) -> tuple[Manifest, Counter[str]]:
        work, number = self.work_dir, len(groups)
        for name in ("text", "listings", "output"):
            (work / name).mkdir(exist_ok=True)
        extract = partial(_extract, groups, work / "text", self.validation_fraction)
        executor.run("reading", extract, number, work / "tasks" / "extract")
        reports = [json.loads((work / "text" / f"counts-{n:05d}.json").read_text()) for n in range(number)]
        counts = sum((Counter(report["counts"]) for report in reports), Counter())
        self._check_documents(counts, number)
        tokenizer = self._tokenizer(make_tokenizer, number)
        tokenize = partial(_tokenize, work, self.shard_tokens, number)
        executor.run("tokenising", tokenize, number + 1, work / "tasks" / "tokenize")
        train = [entry for n in range(number) for entry in read_listing(work / "listings" / f"train-{n:05d}.json")]
        splits = {"train": train, "validation": read_listing(work / "listings" / "validation.json")}
        size = tokenizer.get_vocab_size()
        return Manifest(tokenizer_sha256(tokenizer), size, settings, _sources(groups, reports), splits), counts

    def _publish(self, manifest: Manifest) -> None:
        """Write the manifest and give the folder its name: from now on it is prepared."""
        output = self.work_dir / "output"
        manifest.save(output)
        self.output_dir.parent.mkdir(parents=True, exist_ok=True)
        if self.output_dir.exists():
            self.output_dir.rmdir()
        output.rename(self.output_dir)
        shutil.rmtree(self.work_dir)

    def _settings(self, groups: list[InputGroup], tokenizer_settings: dict[str, Any]) -> dict[str, Any]:
        files = [[str(file), file.stat().st_size] for group in groups for file in group.files]
        sources = [
            [group.reader.name, {k: v for k, v in vars(group.reader).items() if k != "path"}, len(group.files)]
            for group in groups
        ]
        return {
            "input_sha256": hashlib.sha256(json.dumps([files, sources], default=str).encode()).hexdigest(),
            "validation_fraction": self.validation_fraction,
            "shard_tokens": self.shard_tokens,
            "sample_bytes": self.sample_bytes,
            "tokenizer": tokenizer_settings,
        }

    def _existing(self, settings: dict[str, Any]) -> Manifest:
        manifest = Manifest.load(self.output_dir)
        shutil.rmtree(self.work_dir, ignore_errors=True)
        if manifest.settings != settings:
            differing = [name for name in settings if manifest.settings.get(name) != settings[name]]
            raise ValueError(
                f"output_dir={self.output_dir} holds another preparation, with another {', '.join(differing)}; "
                "choose another folder or remove it"
            )
        return manifest

    def _open_work_dir(self, settings: dict[str, Any]) -> None:
        """Continue in the hidden folder where it is of the same preparation, else begin there."""
        record = self.work_dir / "settings.json"
        if record.is_file() and json.loads(record.read_text()) == settings:
            return
        shutil.rmtree(self.work_dir, ignore_errors=True)
        self.work_dir.mkdir(parents=True)
        record.write_text(json.dumps(settings))

    def _check_documents(self, counts: Counter[str], num_groups: int) -> None:
        number = counts["documents"]
        if number == 0:
            raise ValueError("the corpus is empty: its files hold no document with text")
        if number == 1:
            raise ValueError(
                "the corpus has a single document: sentence pairs need a second one, and a held-out split as well"
            )
        for split, least in (("train", 2), ("validation", 2 if self.validation_fraction else 0)):
            found = sum(1 for path in _texts(self.work_dir, split, num_groups) for _ in islice(read_extracted(path), 2))
            if found < least:
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {number} documents leaves {found} for {split}; "
                    "a split needs two for sentence pairs"
                )

    def _tokenizer(self, make: TokenizerSource, num_groups: int) -> Tokenizer:
        folder, done = self.work_dir / "output" / "tokenizer", self.work_dir / "tasks" / "tokenizer"
        if not done.exists():
            save_tokenizer(make(lambda: _sample(_texts(self.work_dir, "train", num_groups), self.sample_bytes)), folder)
            done.touch()
        return load_tokenizer(folder)


def _texts(work_dir: Path, split: str, num_groups: int) -> list[Path]:
    return [work_dir / "text" / f"{split}-{number:05d}.jsonl" for number in range(num_groups)]


def _extract(groups: list[InputGroup], texts: Path, validation_fraction: float, number: int) -> None:
    extract_group(groups[number], number, texts, validation_fraction)


def _tokenize(work_dir: Path, shard_tokens: int, num_groups: int, number: int) -> None:
    """Tokenise one group of training text; the last task does all held-out text."""
    output, listings = work_dir / "output", work_dir / "listings"
    inputs, prefix, listing = (
        _texts(work_dir, "validation", num_groups),
        "validation/part",
        listings / "validation.json",
    )
    if number < num_groups:
        inputs = [work_dir / "text" / f"train-{number:05d}.jsonl"]
        prefix, listing = f"train/part-{number:05d}", listings / f"train-{number:05d}.json"
    tokenize_files(inputs, prefix, output, listing, load_tokenizer(output / "tokenizer"), shard_tokens)


def _sample(paths: Sequence[Path], sample_bytes: int) -> list[str]:
    """Return the first part of every file, shared out by size, one string a document."""
    total = sum(path.stat().st_size for path in paths)
    share = min(1.0, sample_bytes / max(total, 1))
    return [text for path in paths for text in _first_texts(path, share * path.stat().st_size)]


def _first_texts(path: Path, num_bytes: float) -> Iterator[str]:
    taken = 0
    for record in read_extracted(path):
        if taken >= num_bytes:
            return
        text = " ".join(record["sentences"])
        taken += len(text.encode())
        yield text


def _sources(groups: list[InputGroup], reports: list[dict[str, Any]]) -> list[SourceEntry]:
    """Return what the manifest says of every source; titles beyond the first are in the shards only."""
    sources = []
    for reader in {group.reader.name: group.reader for group in groups}.values():
        own = [report for report in reports if report["source"] == reader.name]
        documents = sum(report["counts"].get("documents", 0) for report in own)
        titles = [title for report in own for title in report["titles"]][:TITLES_LISTED]
        sources.append(SourceEntry(reader.name, reader.licence, reader.origin, documents, titles))
    return sources
