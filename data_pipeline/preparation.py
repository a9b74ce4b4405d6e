"""Text in, a prepared folder out.

    input files --extract--> sentences --train--> tokenizer --tokenise--> token shards --> manifest, rename

Everything is put together in a hidden folder beside the output and renamed at the end, so the output is whole or
absent. A run that was killed continues there with the tasks that had not finished; the result is the same to the byte.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from data_pipeline.tokenization import MIN_DOCUMENTS, Tokenized, tokenization_groups, tokenize_files
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
        if not isinstance(self.validation_fraction, float | int) or not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1), not {self.validation_fraction!r}")
        for name in ("shard_tokens", "group_bytes", "sample_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")

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
        if self.output_dir.is_file() or (self.output_dir.exists() and any(self.output_dir.iterdir())):
            raise ValueError(f"output_dir={self.output_dir} is not empty and not a prepared folder")
        new_parents = [parent for parent in self.work_dir.parents if not parent.exists()]
        self._open_work_dir({**settings, "input_times": _times_sha256(groups)})
        try:
            manifest, counts = self._prepare(groups, make_tokenizer, executor, settings)
            self._publish(manifest)
        except ValueError:
            shutil.rmtree(self.work_dir)
            for parent in new_parents:
                parent.rmdir()
            raise
        return manifest, counts

    def _prepare(
        self,
        groups: list[InputGroup],
        make_tokenizer: TokenizerSource,
        executor: Executor,
        settings: dict[str, Any],
    ) -> tuple[Manifest, Counter[str]]:
        work = self.work_dir
        for name in ("scratch", "text", "listings", "output/train", "output/validation"):
            (work / name).mkdir(parents=True, exist_ok=True)
        extract = partial(_extract, groups, work, self.validation_fraction)
        executor.run("reading", extract, len(groups), work / "tasks" / "extract")
        reports = [_read_counts(work, number) for number in range(len(groups))]
        counts = sum(reports, Counter())
        self._check_documents(counts)
        tokenizer = self._tokenizer(make_tokenizer, len(groups))
        tasks = tokenization_groups([report["documents for train"] for report in reports])
        tokenize = partial(_tokenize, work, self.shard_tokens, tasks, [group.reader.name for group in groups])
        executor.run("tokenising", tokenize, len(tasks) + 1, work / "tasks" / "tokenize")
        *train, validation = (Tokenized.load(_listing(work, number)) for number in range(len(tasks) + 1))
        counts = sum((part.counts for part in train), counts + validation.counts)
        splits = {"train": [entry for part in train for entry in part.entries], "validation": validation.entries}
        size, sources = tokenizer.get_vocab_size(), _sources(groups, reports, work)
        return Manifest(tokenizer_sha256(tokenizer), size, settings, sources, splits), counts

    def _publish(self, manifest: Manifest) -> None:
        """Write the manifest and give the folder its name: from now on it is prepared."""
        output = self.work_dir / "output"
        if not manifest.splits["validation"]:
            (output / "validation").rmdir()
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

    def _check_documents(self, counts: Counter[str]) -> None:
        number = counts["documents"]
        if number == 0:
            raise ValueError("the corpus is empty: its files hold no document with text")
        if number == 1:
            raise ValueError(
                "the corpus has a single document: sentence pairs need a second one, and a held-out split as well"
            )
        for split, least in (
            ("train", MIN_DOCUMENTS),
            ("validation", MIN_DOCUMENTS if self.validation_fraction else 0),
        ):
            if (found := counts[f"documents for {split}"]) < least:
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {number} documents leaves {found} for {split}; "
                    "a split needs two for sentence pairs (0 holds none out)"
                )

    def _tokenizer(self, make: TokenizerSource, num_groups: int) -> Tokenizer:
        folder, done = self.work_dir / "output" / "tokenizer", self.work_dir / "tasks" / "tokenizer"
        if not done.exists():
            texts = [_text(self.work_dir, "train", number) for number in range(num_groups)]
            save_tokenizer(make(lambda: _sample(texts, self.sample_bytes)), folder)
            done.touch()
        return load_tokenizer(folder)


def _text(work_dir: Path, split: str, number: int) -> Path:
    return work_dir / "text" / f"{split}-{number:05d}.jsonl"


def _listing(work_dir: Path, number: int) -> Path:
    return work_dir / "listings" / f"{number:05d}.json"


def _read_counts(work_dir: Path, number: int) -> Counter[str]:
    return Counter(json.loads((work_dir / "text" / f"counts-{number:05d}.json").read_text()))


@contextmanager
def _delivered(work_dir: Path) -> Iterator[Path]:
    """Yield a folder of the caller's own; its files move to the same places in `work_dir` at the end, each whole.

    Where only the parent was killed, a process may still be at a task that the next run does again. Each then delivers
    the same bytes, and neither sees a file the other has half written.
    """
    folder = Path(tempfile.mkdtemp(dir=work_dir / "scratch"))
    yield folder
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        file.replace(work_dir / file.relative_to(folder))
    shutil.rmtree(folder)


def _extract(groups: list[InputGroup], work_dir: Path, validation_fraction: float, number: int) -> None:
    with _delivered(work_dir) as folder:
        (folder / "text").mkdir()
        extract_group(groups[number], number, folder / "text", validation_fraction)


def _tokenize(work_dir: Path, shard_tokens: int, tasks: list[range], names: list[str], number: int) -> None:
    """Tokenise one group of training text; the last task does all held-out text."""
    split, files, prefix = "validation", range(len(names)), "validation/part"
    if number < len(tasks):
        split, files, prefix = "train", tasks[number], f"train/part-{number:05d}"
    sources = {names[file] for file in files}
    source = sources.pop() if len(sources) == 1 else ""
    inputs = [_text(work_dir, split, file) for file in files]
    tokenizer = load_tokenizer(work_dir / "output" / "tokenizer")
    with _delivered(work_dir) as folder:
        done = tokenize_files(inputs, prefix, folder / "output", tokenizer, shard_tokens, source)
        (folder / "listings").mkdir()
        done.save(_listing(folder, number))


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


def _sources(groups: list[InputGroup], reports: list[Counter[str]], work_dir: Path) -> list[SourceEntry]:
    """Return what the manifest says of every source; titles beyond the first are in the shards only."""
    sources = []
    for reader in {group.reader.name: group.reader for group in groups}.values():
        own = [number for number, group in enumerate(groups) if group.reader.name == reader.name]
        files = (work_dir / "text" / f"titles-{number:05d}.json" for number in own)
        titles = islice((title for file in files for title in json.loads(file.read_text("utf-8"))), TITLES_LISTED)
        documents = sum(reports[number]["documents"] for number in own)
        sources.append(SourceEntry(reader.name, reader.licence, reader.origin, documents, list(titles)))
    return sources


def _times_sha256(groups: list[InputGroup]) -> str:
    """Return a hash of when the input files were last changed: a killed run goes on only with files left alone."""
    times = [file.stat().st_mtime_ns for group in groups for file in group.files]
    return hashlib.sha256(json.dumps(times).encode()).hexdigest()
