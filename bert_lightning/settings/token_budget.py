"""The steps of a run whose length is given in tokens: `trainer.max_tokens`."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from bert_lightning.settings.config import filled_in, prepared_folder
from bert_lightning.settings.phase_settings import complete_phases
from data_pipeline.streams.example_lengths import example_lengths
from data_pipeline.whole_numbers import check_whole_number

_PLENTY = 1_000_000
"""Steps at which the shares of phases are read off."""


def with_steps(cfg: DictConfig) -> DictConfig:
    """Return the settings with the trainer.max_steps that follow from trainer.max_tokens; as they are without it.

    The papers compare at equal tokens, and another format, length or batch size has other tokens a step. They are
    counted with the mean length of the examples, so the tokens of a run differ from the budget by under one percent.

    Args:
        cfg: The settings, with a prepared folder that exists.

    Raises:
        ValueError: if the budget is too small for a step, or a phase has steps besides it.
    """
    max_tokens = cfg.trainer.max_tokens
    if max_tokens is None:
        return cfg
    check_whole_number("trainer.max_tokens", max_tokens)
    if cfg.phases is not None and any("steps" in entry for entry in cfg.phases):
        raise ValueError(f"trainer.max_tokens={max_tokens} decides the steps; give the phases a share, not steps")
    phases = complete_phases(filled_in(cfg, {"trainer": {"max_steps": _PLENTY}}))
    folder, pairs = prepared_folder(cfg.data), instantiate(cfg.pairs)
    entries = folder.manifest.without(list(cfg.data.exclude_shards)).splits["train"]
    per_step = sum(
        phase["steps"]
        / _PLENTY
        * phase["global_batch_size"]
        * example_lengths(folder, entries, pairs, phase["seq_len"], cfg.seed).mean()
        for phase in phases
    )
    steps = round(max_tokens / per_step)
    if not steps:
        raise ValueError(f"trainer.max_tokens={max_tokens} is less than the {per_step:.0f} tokens of one step")
    return filled_in(cfg, {"trainer": {"max_steps": steps}})
