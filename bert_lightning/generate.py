"""bert-generate: what a causal model writes after a text, or after every text of a file."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
from collections.abc import Iterator
from functools import partial
from typing import Any

from omegaconf import DictConfig

from bert_lightning.inference.continuing import Continuer
from bert_lightning.inference.json_lines import write_lines
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.prompting.prompts import filled, read_template
from bert_lightning.inference.sampling import Sampling
from bert_lightning.inference.text_inputs import given_inputs
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.setting_types import check_values
from data_pipeline import rng
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number


def generate(cfg: DictConfig) -> None:
    """Print the text that follows `text`, or write a line of JSON for every text of `input`.

    Raises:
        ValueError: naming the setting, or the file and the line, that is wrong; then `output` is not written.
    """
    check_values(cfg, text=str | None, input=str | None, column=str, template=str, output=str | None)
    check_values(cfg, temperature=float | None, top_p=float | None)
    check_whole_number("max_new_tokens", cfg.max_new_tokens)
    check_whole_number("seed", cfg.seed, least=0)
    if cfg.text is not None and cfg.output is not None:
        raise ValueError("output is for input=<file>; what follows text=... is printed")
    rows = _rows(cfg)
    if cfg.text is None:
        write_lines(rows, cfg.output, "continuations")
        return
    for row in rows:
        print("\n".join(map(printable, f"{row['prompt']}{row['continuation']}".split("\n"))))


def _rows(cfg: DictConfig) -> Iterator[dict[str, Any]]:
    """Yield the prompt, what follows it, and whether the model ended the text there."""
    sampling, template = Sampling(cfg.temperature, cfg.top_k, cfg.top_p), read_template(cfg.template, ("text",))
    inputs = partial(given_inputs, cfg.text, None, cfg.input, cfg.column, None)
    texts = inputs()
    go_on = Continuer(load_model(cfg.checkpoint, cfg.accelerator))
    for each in texts:  # a text that does not fit says so before the first one is continued
        go_on.check(filled(template, {"text": each.text}), cfg.max_new_tokens, each.where)
    for number, each in enumerate(inputs()):
        prompt = filled(template, {"text": each.text})
        found = go_on(prompt, cfg.max_new_tokens, sampling, int(rng.fold(cfg.seed, number)), each.where)
        yield {"id": str(number), "prompt": prompt, "continuation": found.text, "is_ended": found.is_ended}


main = entry_point("generate", generate)

if __name__ == "__main__":
    main()
