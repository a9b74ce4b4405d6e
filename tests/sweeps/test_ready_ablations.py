"""The ready ablations: every variant can begin, and runs of one seed share what their settings allow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import OmegaConf

from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.phase_settings import complete_phases
from bert_lightning.sweeps.ablation_settings import read_ablation
from bert_lightning.sweeps.variant_points import VariantRun, plan_variants
from data_pipeline.streams.packed_batch import MLM
from tests.support.settings import NO_DROPOUT, SIZES

READY = sorted(path.stem for path in (Path(CONF_DIR) / "experiment" / "ablations").glob("*.yaml"))
READY.remove("shared")


def planned(name: str, words: list[str], seeds: list[int]) -> list[VariantRun]:
    """Return the runs of a ready ablation, composed by Hydra."""
    fixed = [f"experiment=ablations/{name}", "data.path=x", "model.vocab_size=64", f"run_name={name}", *words]
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        sweeper = compose("pretrain", fixed, return_hydra_config=True).hydra
        assert sweeper.mode == RunMode.MULTIRUN
        OmegaConf.resolve(sweeper.sweeper)  # as Hydra does before it makes the sweeper
        given = {str(key): value for key, value in sweeper.sweeper.items() if key[0] != "_" and key != "params"}
        variants = read_ablation(given).variants
        return plan_variants(variants, seeds, name, fixed, lambda number, overrides: compose("pretrain", overrides))


def without_its_name(run: VariantRun) -> dict[str, Any]:
    """Return the settings of a run by their dotted names, without the name of the run in them."""

    def walk(group: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(group, Mapping):
            return {prefix: str(group).replace(str(settings.run_name), "")}
        return {name: each for key in group for name, each in walk(group[key], f"{prefix}{key}.").items()}

    settings = run.point.settings
    assert settings is not None
    return walk(OmegaConf.to_container(settings), "")


@pytest.mark.parametrize("name", READY)
def test_every_variant_can_begin_and_differs_from_the_others(name: str) -> None:
    """The objective finds its labels, the model takes the length, and the held-out masks are the same for all.

    A student learns from the run of another variant with its seed, which is not trained here.
    """
    runs = planned(name, [], [0, 1])
    assert len(runs) >= 4
    held_out = [OmegaConf.to_container(run.point.settings.validation) for run in runs if run.point.settings]
    assert all(each == held_out[0] for each in held_out)
    seen = []
    for run in runs:
        settings = run.point.settings
        assert settings is not None
        assert settings.run_dir == f"outputs/{name}/{run.variant}/seed-{run.seed}"
        pairs, config = instantiate(settings.pairs), instantiate(settings.model)
        instantiate(settings.masking)
        steps = {"trainer": {"max_steps": settings.trainer.max_steps}}
        assert max(phase["seq_len"] for phase in complete_phases(OmegaConf.merge(settings, steps))) <= (
            config.max_position_embeddings
        )
        if (teacher := settings.objective.get("teacher")) is None:
            with torch.device("meta"):
                objective = instantiate(settings.objective)(config=config)
            objective.check_targets((MLM,) if pairs.target is None else (MLM, pairs.target), name)
        else:
            assert teacher in [str(other.point.run_dir) for other in runs if other.seed == run.seed]
        seen.append(without_its_name(run))
    assert all(seen.count(each) == 1 for each in seen)


def test_runs_of_one_seed_begin_with_the_same_encoder_and_differ_in_the_variant_alone() -> None:
    """Their seeds are paired: what decides order, pairs, masks and first weights is the same."""
    sizes = [f"model.{name}={size}" for name, size in SIZES.items()] + [f"{k}={v}" for k, v in NO_DROPOUT.items()]
    runs = planned("sentence_task", ["model=bert_tiny", *sizes], [3, 4])
    assert [(run.variant, run.seed) for run in runs] == [(v, s) for s in (3, 4) for v in ("none", "nsp", "sop", "ltr")]
    states = []
    for run in runs:
        settings = run.point.settings
        assert settings is not None
        assert settings.seed == run.seed
        assert settings.resume == "auto"
        L.seed_everything(settings.seed, verbose=False)
        states.append(instantiate(settings.objective)(config=instantiate(settings.model)).encoder.state_dict())
    for first, other in ((0, 1), (0, 2), (0, 3), (4, 5), (4, 6), (4, 7)):
        assert all(torch.equal(tensor, states[other][name]) for name, tensor in states[first].items())
        before, after = (without_its_name(runs[each]) for each in (first, other))
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        assert {key.split(".")[0] for key in changed} <= {"pairs", "objective", "model"}
    name = "embeddings.token.weight"
    assert not torch.equal(states[0][name], states[4][name])
