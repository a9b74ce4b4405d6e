"""The runs of an ablation: every variant with every seed, each a point of a sweep."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.settings.setting_types import check_types
from bert_lightning.sweeps.ablation_settings import Changes
from bert_lightning.sweeps.points import Point, check_folders
from bert_lightning.sweeps.same_settings import decisive
from bert_lightning.sweeps.trial_overrides import in_hydras_words

_SOME_VOCABULARY = 30_522
"""A size of the vocabulary for encoders whose size is not known yet; no other setting depends on it."""


@dataclass(frozen=True, slots=True)
class VariantRun:
    """One run of an ablation.

    Attributes:
        variant: Name of the variant.
        seed: The seed.
        point: The run as a point of a sweep.
    """

    variant: str
    seed: int
    point: Point

    @property
    def digest(self) -> str:
        """Digest of the settings that decide what the run reaches."""
        assert self.point.settings is not None
        text = json.dumps(decisive(self.point.settings), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_variants(
    variants: Mapping[str, Changes],
    seeds: Sequence[int],
    run_name: str,
    fixed: Sequence[str],
    compose: Callable[[int, Sequence[str]], DictConfig],
) -> list[VariantRun]:
    """Return the runs of an ablation: all variants with the first seed, then all with the second, and so on.

    A run lies in `<output_dir>/<run_name>/<variant>/seed-<n>`. Runs with the same seed read the data in the same order
    and begin with the same weights, as far as their settings allow.

    Args:
        variants: Changes of each variant.
        seeds: The seeds.
        run_name: Name of the ablation.
        fixed: Overrides that all runs share.
        compose: Returns the settings of a run for its number and its overrides.

    Raises:
        ValueError: if the settings of a variant cannot be composed or do not fit each other, or runs would share a
            folder.
    """
    runs: list[VariantRun] = []
    for seed in seeds:
        for variant, changes in variants.items():
            name = f"run_name={in_hydras_words(f'{run_name}/{variant}/seed-{seed}')}"
            overrides = (*fixed, *as_overrides(changes), f"seed={seed}", name, "resume=auto")
            try:
                settings = compose(len(runs), overrides)
                OmegaConf.resolve(settings)
            except (HydraException, OmegaConfBaseException) as error:
                raise ValueError(f"hydra.sweeper.variants.{variant}: {' '.join(str(error).split())}") from None
            _check_encoder(variant, settings)
            point = Point(len(runs), f"{variant}, seed {seed}", overrides, settings)
            runs.append(VariantRun(variant, seed, point))
    check_folders([run.point for run in runs])
    return runs


def _check_encoder(variant: str, settings: DictConfig) -> None:
    """Raise a ValueError if a variant has a setting of another type, or an encoder that cannot be."""
    try:
        check_types(settings)
        instantiate(settings.model, vocab_size=settings.model.vocab_size or _SOME_VOCABULARY)
    except (ValueError, InstantiationException) as error:
        raise ValueError(f"hydra.sweeper.variants.{variant}: {error.__cause__ or error}") from error


def as_overrides(changes: Changes) -> list[str]:
    """Return changes as overrides of a command line.

    >>> as_overrides({"model": "bert_tiny", "optimizer.betas": [0.9, 0.98], "~callbacks.guesses": None})
    ["model='bert_tiny'", 'optimizer.betas=[0.9,0.98]', '~callbacks.guesses']
    """
    return [key if key[0] == "~" else f"{key}={in_hydras_words(value)}" for key, value in changes.items()]
