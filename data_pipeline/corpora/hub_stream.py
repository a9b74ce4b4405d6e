"""Datasets of the Hugging Face Hub, streamed: nothing is downloaded beforehand. Needs the package `datasets`."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from data_pipeline.corpora.reader import Part, Reader
from data_pipeline.corpora.rows import RowFields
from data_pipeline.records import Document, Dropped


class HubStream(Reader):
    """Documents out of one column of a streamed dataset; each of its shards (files) is read by one task.

    Args:
        path: Of a dataset on the Hub, of a folder, or the name of a format that `data_files` have.
        config: The dataset's configuration; None for its only one.
        split: Its split.
        revision: A commit or tag; without one, changes made to the dataset between two runs are not noticed.
        data_files: Paths, patterns or addresses of its files, where not all are wanted.
        text_key: The column that holds the text.
        title_key: The column that holds a title, where there is one.
        id_key: The column that tells documents apart; None: the shard and the number of the row do.
        prose_only: Drop headings and list entries, as for every text of Wikipedia.
        **reader: As for every `Reader`.
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
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        files = data_files if data_files is None or isinstance(data_files, str) else list(data_files)
        self.dataset = {"path": path, "name": config, "split": split, "revision": revision, "data_files": files}
        self.fields = RowFields(text_key, title_key, id_key, prose_only)

    def content_sha256(self) -> str:
        """Return a hash of what the dataset says of itself: its revision, files and sizes, not their content."""
        stream = self._open()
        about = [self.dataset, stream.num_shards, stream.info.dataset_size, str(stream.info.download_checksums)]
        return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()

    def parts(self, part_bytes: int) -> list[Part]:
        """Return the shards of the dataset, a task each."""
        return [Part(str(self.dataset["path"]), None, number, number + 1) for number in range(self._open().num_shards)]

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a shard."""
        stream = self._open()
        shard = stream.shard(num_shards=stream.num_shards, index=part.begin)
        for number, row in enumerate(shard):
            if missing := [name for name in self.fields.required() if name not in row]:
                raise ValueError(
                    f"corpus {self.name}: {part.name} has no column {', '.join(map(repr, missing))}; "
                    f"it has {', '.join(row)}"
                )
            if not isinstance(row[self.fields.text], str | None):
                raise ValueError(f"corpus {self.name}: column {self.fields.text!r} of {part.name} does not hold text")
            yield self.fields.document(row, self.name, f"{part.begin}/{number}")

    def _open(self) -> Any:
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ValueError(
                f"corpus {self.name} is streamed with the package datasets: pip install 'bert-lightning[hf]'"
            ) from error
        try:
            return load_dataset(**self.dataset, streaming=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"corpus {self.name}: the dataset {self.dataset['path']} does not open: {error}"
            ) from error
