"""Every model file builds, with its published number of parameters."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from bert_lightning.objectives import MaskedLMWithNSP

CONF = Path(__file__).resolve().parents[1] / "conf"
# transformers' BertForPreTraining of these sizes, 30,522 words: encoder, pooler and both heads.
PARAMETERS = {
    "bert_tiny": 4_433_468,
    "bert_mini": 11_267_900,
    "bert_small": 29_058_876,
    "bert_medium": 41_668_412,
    "bert_base": 110_106_428,
    "bert_large": 336_226_108,
}


def test_every_model_file_is_tested() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    cfg = OmegaConf.merge(OmegaConf.load(CONF / "model" / "bert_base.yaml"), OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    cfg.pop("defaults", None)
    with torch.device("meta"):
        model = MaskedLMWithNSP(instantiate(cfg, vocab_size=30_522))
    padding = (30_528 - 30_522) * cfg.hidden_size
    assert sum(parameter.numel() for parameter in model.parameters()) - padding == PARAMETERS[name]
