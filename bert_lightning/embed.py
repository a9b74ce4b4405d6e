"""bert-embed: vectors of texts, tokens or words out of any checkpoint, to .npy or parquet."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
from pathlib import Path

from omegaconf import DictConfig

from bert_lightning.inference.features import FeatureExtractor
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.text_inputs import encoded_chunks, given_inputs
from bert_lightning.inference.vector_files import check_output, open_vectors
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.setting_types import check_values
from data_pipeline.whole_numbers import check_whole_number

BATCHES_IN_MEMORY = 8
"""Batches whose texts are sorted by length together; their vectors are held until they are written."""


def embed(cfg: DictConfig) -> Path:
    """Write the vectors of `text` or of the texts of `input` to `output`, and say how many.

    Raises:
        ValueError: naming the setting, or the file and the line, that is wrong; then nothing is written.
    """
    check_values(cfg, output=str, input=str | None, column=str, layers=list[int], truncate=bool)
    output = Path(cfg.output)
    check_output(output)
    inputs = given_inputs(cfg.text, None, cfg.input, cfg.column, None)
    check_whole_number("batch_tokens", cfg.batch_tokens)
    model = load_model(cfg.checkpoint, cfg.accelerator)
    seq_len = model.checked_length(cfg.seq_len)
    extract = FeatureExtractor(model, list(cfg.layers), cfg.combine, cfg.pooling, cfg.batch_tokens)
    most_tokens = BATCHES_IN_MEMORY * cfg.batch_tokens
    num_texts = num_vectors = num_cut = 0
    with open_vectors(output, extract.width, has_spans=cfg.pooling in ("tokens", "words")) as file:
        for chunk in encoded_chunks(inputs, model.tokenizer, seq_len, cfg.truncate, most_tokens):
            features = extract(chunk)
            file.write(features, [each.source.text for each in chunk], num_texts)
            num_texts += len(chunk)
            num_vectors += len(features.vectors)
            num_cut += sum(each.is_cut for each in chunk)
    cut = f", of which {num_cut:,} had more than {seq_len} tokens and were cut" if num_cut else ""
    print(f"{cfg.output}: {num_vectors:,} x {extract.width} numbers; number of texts: {num_texts:,}{cut}")
    return output


main = entry_point("embed", embed)

if __name__ == "__main__":
    main()
