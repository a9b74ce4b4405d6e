"""bert-predict: labels of texts and words, answers, choices, or whether two texts follow each other, as JSON lines."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
from collections.abc import Callable, Iterator

from omegaconf import DictConfig

from bert_lightning.checkpoints.task_head import MULTIPLE_CHOICE, QUESTION_ANSWERING
from bert_lightning.inference.given_questions import (
    answer_predictions,
    choice_predictions,
    given_choices,
    given_questions,
)
from bert_lightning.inference.json_lines import write_lines
from bert_lightning.inference.loading import LoadedModel, load_model
from bert_lightning.inference.predictors import Prediction, find_predictor
from bert_lightning.inference.text_inputs import encoded_chunks, given_inputs
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.setting_types import check_values
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer
from data_pipeline.whole_numbers import check_whole_number

BATCHES_IN_MEMORY = 8
"""Batches whose texts are sorted by length together."""


def predict(cfg: DictConfig) -> None:
    """Write a line of JSON for `text`, or for every row or question of `input`, to `output` or to standard output.

    Raises:
        ValueError: naming the setting, or the file and the line, that is wrong; then `output` is not written.
    """
    check_values(cfg, input=str | None, column=str, pair_column=str | None, output=str | None, truncate=bool)
    check_values(
        cfg, choices=list[str] | None, choices_column=str, graph=str | None, null_score_diff_threshold=float | None
    )
    check_whole_number("batch_tokens", cfg.batch_tokens)
    write_lines(_predictions(cfg), cfg.output, "predictions")


def _predictions(cfg: DictConfig) -> Iterator[Prediction]:
    model = load_model(cfg.checkpoint, cfg.accelerator)
    kind = model.pretrained.head.kind if model.pretrained.head is not None else None
    for name, needed in (("question", QUESTION_ANSWERING), ("choices", MULTIPLE_CHOICE), ("graph", MULTIPLE_CHOICE)):
        if cfg[name] is not None and kind != needed:
            raise ValueError(f"{name} is for a model with a head for {needed}; checkpoint={model.name} has none")
    for name in ("text_pair", "pair_column"):
        if cfg[name] is not None and kind in _ASKED:
            raise ValueError(f"{name} is for a model of texts; checkpoint={model.name} has a head for {kind}")
    return _ASKED.get(kind, _of_texts)(cfg, model)


def _of_questions(cfg: DictConfig, model: LoadedModel) -> Iterator[Prediction]:
    questions = given_questions(cfg.text, cfg.question, cfg.input)
    return answer_predictions(questions, model, cfg.batch_tokens, cfg.null_score_diff_threshold, cfg.seq_len)


def _of_choices(cfg: DictConfig, model: LoadedModel) -> Iterator[Prediction]:
    questions = given_choices(cfg.text, cfg.choices, cfg.input, cfg.column, cfg.choices_column)
    return choice_predictions(questions, model, cfg.batch_tokens, cfg.graph, cfg.seq_len)


_ASKED: dict[str | None, Callable[[DictConfig, LoadedModel], Iterator[Prediction]]] = {
    QUESTION_ANSWERING: _of_questions,
    MULTIPLE_CHOICE: _of_choices,
}
"""Heads that are asked more than a text."""


def _of_texts(cfg: DictConfig, model: LoadedModel) -> Iterator[Prediction]:
    inputs = given_inputs(cfg.text, cfg.text_pair, cfg.input, cfg.column, cfg.pair_column)
    predictor = find_predictor(model, cfg.batch_tokens)
    seq_len = model.checked_length(model.trained_length() if cfg.seq_len is None else cfg.seq_len)
    tokenizer = plain_text_tokenizer(model.tokenizer)
    number = 0
    for chunk in encoded_chunks(inputs, tokenizer, seq_len, cfg.truncate, BATCHES_IN_MEMORY * cfg.batch_tokens):
        for each, prediction in zip(chunk, predictor(chunk), strict=True):
            yield {"id": str(number), **prediction} | ({"is_cut": True} if each.is_cut else {})
            number += 1


main = entry_point("predict", predict)

if __name__ == "__main__":
    main()
