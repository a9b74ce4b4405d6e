"""A file of examples with their right answers, as `labeled` in the settings of bert-evaluate describes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bert_lightning.checkpoints.task_head import MULTIPLE_CHOICE, QUESTION_ANSWERING, TOKEN_CLASSIFICATION
from bert_lightning.checkpoints.trained_task import trained_glue_task
from bert_lightning.finetuning.split_sources import OneSplit
from bert_lightning.finetuning.task import VALIDATION, Task
from bert_lightning.finetuning.text_labels import NUMBER, ONE_CLASS, SEVERAL_CLASSES
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.model_tasks import answering_task, choosing_task, tagging_task, text_task
from data_pipeline.tasks.choices import read_any_choices
from data_pipeline.tasks.glue import is_official, read_glue_file
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.tables import TABLE_SUFFIXES, Row, named_by, read_texts
from data_pipeline.tasks.tagged import read_conll, read_conllu, read_tagged_table
from data_pipeline.tasks.task_records import ChoiceQuestion, Label, LabeledText, TaggedSentence

CONLLU = ".conllu"
_READ_LABEL: dict[str | None, Callable[[Row, str], Label]] = {
    ONE_CLASS: Row.class_name,
    SEVERAL_CLASSES: Row.class_names,
    NUMBER: Row.number,
}
"""How a label is read, for each problem type."""


@dataclass(frozen=True, slots=True)
class LabeledFile:
    """A file and the columns in it; each kind of head knows the columns that it reads.

    Attributes:
        path: The file.
        text: Column of the text.
        text_pair: Column of the second text of a pair; None for single texts.
        label: Column of the label; for choices the index of the right one.
        choices: Column of the choices.
        words: Column of the words of a sentence.
        tags: Column of the tags of the words.
        word_column: Column of the words in a file of columns, from 0.
        tag_column: Column of the tags in a file of columns, from 0, or its name in CoNLL-U; None for the last column,
            in CoNLL-U upos.
        graph: File of the knowledge graph that a model of choices reads; None: that of its fine-tuning.
    """

    path: Path
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    choices: str = "choices"
    words: str = "words"
    tags: str = "tags"
    word_column: int = 0
    tag_column: int | str | None = None
    graph: str | None = None

    def task(self, model: LoadedModel) -> Task:
        """Return the task of a fine-tuned model with the file as its split `VALIDATION`.

        Raises:
            ValueError: naming the file and the line at fault; preparing the task names labels that it does not know.
        """
        assert model.pretrained.head is not None
        kind = model.pretrained.head.kind
        if kind == TOKEN_CLASSIFICATION:
            return tagging_task(OneSplit(VALIDATION, self._sentences()), model)
        if kind == QUESTION_ANSWERING:
            return answering_task(OneSplit(VALIDATION, read_squad(self.path)), model)
        if kind == MULTIPLE_CHOICE:
            return choosing_task(OneSplit(VALIDATION, self._choice_questions()), model, self.graph)
        return text_task(OneSplit(VALIDATION, self._texts(model)), model)

    def _texts(self, model: LoadedModel) -> list[LabeledText]:
        """Return the texts of a table, or of an official file of GLUE if the model was trained on this task."""
        layout, head = trained_glue_task(model.pretrained), model.pretrained.head
        assert head is not None
        if layout is not None and is_official(layout, self.path, self.text):
            return read_glue_file(layout, self.path)
        read_label = _READ_LABEL[head.problem_type]
        return read_texts(self.path, self.text, self.text_pair, self.label, read_label=read_label, group="labeled.")

    def _sentences(self) -> list[TaggedSentence]:
        """Return the sentences of CoNLL-U, of a table, or under any other ending of columns as in CoNLL."""
        suffix, column = self.path.suffix, self.tag_column
        if suffix in TABLE_SUFFIXES:
            return read_tagged_table(self.path, self.words, self.tags, group="labeled.")
        if suffix == CONLLU:
            return read_conllu(self.path, "upos" if column is None else str(column), group="labeled.")
        if isinstance(column, str):
            raise ValueError(f"labeled.tag_column must be the number of a column of {self.path}; got {column}")
        return read_conll(self.path, self.word_column, -1 if column is None else column, group="labeled.")

    def _choice_questions(self) -> list[ChoiceQuestion]:
        settings = named_by("labeled.", label=self.label, choices=self.choices, text=self.text)
        return read_any_choices(self.path, self.text, self.choices, self.label, settings)
