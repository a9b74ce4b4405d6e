"""Datasets of the Hugging Face Hub, streamed without a download beforehand. Needs the package `datasets`."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import Reader
from data_pipeline.corpora.rows import RowFields, check_columns
from data_pipeline.records import Document, Dropped
from data_pipeline.untrusted.typed_fields import listed


class HubStream(Reader):
    """Reader of one column of a streamed dataset; each shard (file) of the dataset is read by one task.

    Args:
        path: A dataset on the Hub, a folder, or the name of the format of `data_files`.
        config: Configuration of the dataset; None if it has only one.
        split: Split of the dataset.
        revision: Commit or tag; None does not notice changes made to the dataset between two runs.
        data_files: Paths, patterns or addresses of the files to read; None reads all files.
        text_key: Column of the text.
        title_key: Column of the title; rows may lack it.
        id_key: Column that identifies documents; None identifies them by shard and row number.
        prose_only: True drops headings and list entries, as the readers of Wikipedia do.
        sentence_per_line: True makes a sentence of every line.
        **reader: Arguments of every `Reader`.
    """

    def __init__(
        self,
        path: str,
        config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        data_files: Any = None,
        text_key: str = "text",
        title_key: str = "title",
        id_key: str | None = None,
        prose_only: bool = False,
        sentence_per_line: bool = False,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        files = data_files if data_files is None or isinstance(data_files, str) else list(data_files)
        self.dataset = {"path": path, "name": config, "split": split, "revision": revision, "data_files": files}
        self.fields = RowFields(text_key, title_key, id_key, prose_only, sentence_per_line)

    def content_sha256(self) -> str:
        """Return a hash of the dataset's revision, file names and sizes; the content is not hashed."""
        stream = self._open()
        about = [self.dataset, stream.num_shards, stream.info.dataset_size, str(stream.info.download_checksums)]
        return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()

    def parts(self, part_bytes: int) -> list[Part]:
        """Return one part for each shard of the dataset."""
        return [Part(str(self.dataset["path"]), None, number, number + 1) for number in range(self._open().num_shards)]

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a shard."""
        stream = self._open()
        shard = stream.shard(num_shards=stream.num_shards, index=part.begin)
        for number, row in enumerate(shard):
            check_columns(self.name, part.name, self.fields.required(), row)
            if not isinstance(row[self.fields.text], str | None):
                said = f"text_key={self.fields.text}, but column {self.fields.text!r} of {part.name} does not hold text"
                raise ValueError(f"corpus {self.name}: {said}; it has {listed(row)}")
            yield self.fields.document(row, self.name, f"{part.begin}/{number}")

    def _open(self) -> Any:
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ValueError(
                f"corpus {self.name} needs the package datasets to be streamed: pip install 'bert-lightning[hf]'"
            ) from error
        try:
            return load_dataset(**self.dataset, streaming=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"corpus {self.name}: the dataset {self.dataset['path']} does not open: {error}"
            ) from error
