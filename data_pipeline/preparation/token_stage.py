"""The stage of a preparation that writes token shards: first those of the training split, then the held-out ones.

A held-out document whose tokens also stand in the training split says nothing about text that the model has not seen,
so it is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_pipeline.preparation.entity_stage import rows_of
from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.mentions import mention_finder
from data_pipeline.preparation.tokenization import (
    HELD_OUT_COPY,
    MIN_DOCUMENTS,
    TRAIN,
    TextInput,
    Tokenized,
    tokenize_files,
    word_cache,
)
from data_pipeline.preparation.work_folder import WorkFolder
from data_pipeline.prepared.document_hashes import Hashes, distinct_hashes
from data_pipeline.whole_numbers import number_of


@dataclass(frozen=True, slots=True)
class TokenStage:
    """Tasks that write token shards.

    Attributes:
        work: Folder of the stage.
        tokenizer: Folder of the stage that made the tokenizer.
        shard_tokens: Tokens of a shard.
        entities: Folder of the stage that found the entities; None if the links of the text were not read.
        tasks: Prefix of the shards' names and files of each task; the last tasks have the held-out text.
    """

    work: WorkFolder
    tokenizer: WorkFolder
    shard_tokens: int
    entities: WorkFolder | None
    tasks: Sequence[tuple[str, list[TextInput]]]

    def run(self, executor: Executor, validation_fraction: float) -> tuple[list[Tokenized], list[Tokenized]]:
        """Return the results of the tasks of the training split, and of those of the held-out text.

        Args:
            executor: Executor of the tasks.
            validation_fraction: Share of the documents that was held out, for the error.

        Raises:
            ValueError: Fewer than two held-out documents are no copies of documents that are trained on.
        """
        held_out_tasks = len(self.tasks) - self._num_train
        executor.run("tokenizing", self.tokenize, self._num_train, self.work.tasks("tokenize"))
        executor.run("held out", self.tokenize_held_out, held_out_tasks, self.work.tasks("tokenize-held-out"))
        done = [Tokenized.load(self.work.listing(number)) for number in range(len(self.tasks))]
        train, held_out = done[: self._num_train], done[self._num_train :]
        copies = sum(counts[HELD_OUT_COPY] for task in held_out for counts in task.dropped.values())
        left = sum(entry.documents for task in held_out for entry in task.entries)
        if copies and left < MIN_DOCUMENTS:
            documents = number_of(copies + left, "document")
            raise ValueError(
                f"validation_fraction={validation_fraction} holds out {documents}, and {copies} of them "
                "are copies of documents that are trained on; deduplication=minhash keeps one of each text, a "
                "larger fraction holds out others, and 0 holds out none"
            )
        return train, held_out

    @property
    def _num_train(self) -> int:
        return sum(prefix.startswith(TRAIN) for prefix, _ in self.tasks)

    def tokenize(self, number: int, trained: Hashes | None = None) -> None:
        """Run the task of a number; `trained` are the hashes of documents that are dropped."""
        prefix, inputs = self.tasks[number]
        with self.work.delivered() as scratch:
            words = word_cache(self.tokenizer.folder("tokenizer"))
            finder = None if self.entities is None else mention_finder(words, rows_of(self.entities))
            done = tokenize_files(inputs, prefix, scratch.output, words, self.shard_tokens, trained, finder)
            done.save(scratch.listing(number))

    def tokenize_held_out(self, number: int) -> None:
        """Run a task of held-out text, without copies of what was tokenized for the training split."""
        train = (Tokenized.load(self.work.listing(task)) for task in range(self._num_train))
        entries = [entry for task in train for entry in task.entries]
        self.tokenize(self._num_train + number, distinct_hashes(self.work.output, entries))
