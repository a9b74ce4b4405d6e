"""What the ready ablations cost at full size: tokens and operations in closed form, nothing measured.

    python docs/studies/ablation_costs.py [override ...]

Operations are those of the objective, or of the student alone if there is a teacher, with every sequence at its full
length, a vocabulary of 30,528, one seed, and the tokens of the experiment. Hours are those of one H100 at 36% of its
989 TFLOP/s in bf16, an assumption: BERT-base at 512 tokens has reached 35% (docs/benchmarks/README.md). Overrides are
those of bert-pretrain, such as trainer.max_tokens=100_000_000.
"""

import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from bert_lightning.models.useful_flops import step_flops
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.phase_settings import complete_phases
from bert_lightning.sweeps.ablation_settings import read_ablation
from bert_lightning.sweeps.variant_points import as_overrides
from data_pipeline.streams.packed_batch import MLM

VOCABULARY = 30_528
FLOPS = 0.36 * 989.5e12


def tokens_and_flops(cfg: DictConfig) -> tuple[float, float]:
    """Return the tokens and the useful operations of a run whose sequences are full."""
    phases = complete_phases(cfg)
    tokens = [phase["steps"] * phase["global_batch_size"] * phase["seq_len"] for phase in phases]
    scale = 1 if cfg.trainer.max_tokens is None else cfg.trainer.max_tokens / sum(tokens)
    flops = sum(flops_of(cfg, each, phase["seq_len"]) for each, phase in zip(tokens, phases, strict=True))
    return scale * sum(tokens), scale * flops


def flops_of(cfg: DictConfig, tokens: float, seq_len: int) -> float:
    """Return the useful operations of some tokens in sequences of one length."""
    model, masked = instantiate(cfg.model, vocab_size=VOCABULARY), cfg.masking.mask_prob * tokens
    if "teacher" in cfg.objective:
        return step_flops(model, tokens, tokens * seq_len, masked)
    with torch.device("meta"):
        objective = instantiate(cfg.objective)(config=model)
    return float(objective.useful_flops(tokens, tokens * seq_len, {MLM: masked}))


def main() -> None:
    """Print a row for each variant of each ablation."""
    print("| experiment | variant | tokens of a run | operations of a run | H100 hours of a run |")
    print("|---|---|---|---|---|")
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        for path in sorted((Path(CONF_DIR) / "experiment" / "ablations").glob("*.yaml")):
            fixed = [f"experiment=ablations/{path.stem}", "data.path=x", *sys.argv[1:]]
            sweeper = compose("pretrain", fixed, return_hydra_config=True).hydra.sweeper
            if sweeper.variants is None:
                continue
            given = {str(key): value for key, value in sweeper.items() if str(key)[0] != "_" and key != "params"}
            for name, changes in read_ablation(given).variants.items():
                tokens, flops = tokens_and_flops(compose("pretrain", [*fixed, *as_overrides(changes)]))
                hours = flops / FLOPS / 3600
                print(f"| {path.stem} | {name} | {tokens / 1e9:.1f} G | {flops:.1e} | {hours:.0f} |")


if __name__ == "__main__":
    main()
