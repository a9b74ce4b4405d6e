"""bert-predict: labels of texts and words by name, or whether two texts follow each other, as lines of JSON."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import json
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from bert_lightning.inference.loading import load_model
from bert_lightning.inference.predictors import Prediction, find_predictor
from bert_lightning.inference.text_inputs import encoded_chunks, given_inputs
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.free_text import quote_texts
from bert_lightning.settings.run_folder import partial_path
from bert_lightning.settings.setting_types import check_values
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number

BATCHES_IN_MEMORY = 8
"""Batches whose texts are sorted by length together."""


def predict(cfg: DictConfig) -> None:
    """Write a line of JSON for `text`, or for every row of `input`, to `output` or to standard output.

    Raises:
        ValueError: naming the setting, or the file and the line, that is wrong; then `output` is not written.
    """
    check_values(cfg, input=str | None, column=str, pair_column=str | None, output=str | None, truncate=bool)
    check_whole_number("batch_tokens", cfg.batch_tokens)
    lines = (json.dumps(prediction, ensure_ascii=False) for prediction in _predictions(cfg))
    if cfg.output is None:
        for line in lines:
            print(printable(line))
        return
    output = Path(cfg.output)
    if not output.absolute().parent.is_dir():
        raise ValueError(f"output={output} is in a folder that does not exist")
    number = 0
    try:
        with partial_path(output).open("w", encoding="utf-8") as file:
            for number, line in enumerate(lines, 1):  # noqa: B007  used after the loop
                file.write(f"{line}\n")
        partial_path(output).replace(output)
    finally:
        partial_path(output).unlink(missing_ok=True)
    print(f"{cfg.output}: {number:,} predictions")


def _predictions(cfg: DictConfig) -> Iterator[Prediction]:
    inputs = given_inputs(cfg.text, cfg.text_pair, cfg.input, cfg.column, cfg.pair_column)
    model = load_model(cfg.checkpoint, cfg.accelerator)
    predictor = find_predictor(model, cfg.batch_tokens)
    seq_len = model.checked_length(cfg.seq_len or model.trained_length())
    tokenizer = plain_text_tokenizer(model.tokenizer)
    number = 0
    for chunk in encoded_chunks(inputs, tokenizer, seq_len, cfg.truncate, BATCHES_IN_MEMORY * cfg.batch_tokens):
        for each, prediction in zip(chunk, predictor(chunk), strict=True):
            yield {"id": str(number), **prediction} | ({"is_cut": True} if each.is_cut else {})
            number += 1


def main() -> None:
    """Run the command."""
    quote_texts()
    entry_point("predict", predict)()


if __name__ == "__main__":
    main()
