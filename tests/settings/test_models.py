"""Every model file composes and builds, with its published number of parameters."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForPreTraining,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    OpenAIGPTConfig,
    OpenAIGPTModel,
    RobertaConfig,
    RobertaModel,
)

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.teacher import Teacher
from bert_lightning.settings.conf_files import CONF_DIR
from tests.support.configs import compose_config

# Millions of parameters: Turc et al. (2019) for the first five; Devlin et al. (2019) round BERT-large to 340.
PUBLISHED = {
    "bert_tiny": 4.4,
    "bert_mini": 11.3,
    "bert_small": 29.1,
    "bert_medium": 41.7,
    "bert_base": 110.1,
    "bert_large": 336.2,
}


def narrow_bert(num_hidden_layers: int, hidden_size: int, intermediate_size: int) -> BertConfig:
    sizes = {"num_hidden_layers": num_hidden_layers, "hidden_size": hidden_size, "intermediate_size": intermediate_size}
    return BertConfig(**sizes)


RELATIVES = {
    "roberta_base": lambda: RobertaModel(RobertaConfig(max_position_embeddings=514, type_vocab_size=1), False),
    "albert_base": lambda: AlbertModel(
        AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072), False
    ),
    "distilbert_base": lambda: DistilBertModel(DistilBertConfig()),
    "tinybert_4": lambda: BertModel(narrow_bert(4, 312, 1200), False),
    "minilm_6": lambda: BertModel(narrow_bert(6, 384, 1536), False),
    "electra_small": lambda: ElectraModel(
        ElectraConfig(embedding_size=128, hidden_size=256, num_attention_heads=4, intermediate_size=1024)
    ),
    "gpt2_small": lambda: GPT2Model(GPT2Config()),
    "openai_gpt": lambda: OpenAIGPTModel(OpenAIGPTConfig()),
    "modernbert_base": lambda: ModernBertModel(ModernBertConfig()),
    "modern_base": lambda: ModernBertModel(ModernBertConfig(num_hidden_layers=12, intermediate_size=2048)),
    "modern_mini": lambda: ModernBertModel(
        ModernBertConfig(num_hidden_layers=4, hidden_size=256, num_attention_heads=4, intermediate_size=680)
    ),
}


def read(name: str, vocab_size: int = 30_522) -> EncoderConfig:
    """Compose a model file as bert-pretrain does, for BERT's vocabulary."""
    cfg = compose_config(f"model/{name}")
    return instantiate(cfg.model, vocab_size=vocab_size)


def test_every_model_file_is_tested() -> None:
    assert {path.stem for path in (Path(CONF_DIR) / "model").glob("*.yaml")} == {*PUBLISHED, *RELATIVES}


@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_has_as_many_parameters_as_the_reference(name: str) -> None:
    """A RoBERTa of the reference adds the one row of its segment table to every token; ours has none."""
    with torch.device("meta"):
        theirs = RELATIVES[name]()
        config = read(name, theirs.config.vocab_size)
        ours = Encoder(config)
    number, expected = (sum(p.numel() for p in model.parameters()) for model in (ours, theirs))
    padding = (config.padded_vocab_size - config.vocab_size) * config.embedding_width
    segments = (getattr(theirs.config, "type_vocab_size", 0) - config.type_vocab_size) * config.embedding_width
    assert number - padding == expected - segments


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one_and_that_of_the_reference(name: str) -> None:
    config = read(name)
    with torch.device("meta"):
        ours = MaskedLMWithNSP(config)
        theirs = BertForPreTraining(BertConfig(**config.as_dict()))
    number, expected = (sum(p.numel() for p in model.parameters()) for model in (ours, theirs))
    padding = (config.padded_vocab_size - config.vocab_size) * config.hidden_size
    assert number - padding == expected
    assert round(expected / 1e6, 1) == PUBLISHED[name]


def test_the_base_model_is_the_default_of_the_reference() -> None:
    reference = BertConfig().to_dict()
    assert all(reference[name] == value for name, value in read("bert_base").as_dict().items())


@pytest.mark.parametrize(
    ("name", "kind", "weights"),
    [
        ("mlm", MaskedLM, {"mlm_loss": 1.0}),
        ("mlm_nsp", MaskedLMWithNSP, {"mlm_loss": 1.0, "nsp_loss": 1.0}),
        ("mlm_sop", MaskedLMWithSOP, {"mlm_loss": 1.0, "sop_loss": 1.0}),
    ],
)
def test_an_objective_file_is_named_after_its_targets(name: str, kind: type, weights: dict[str, float]) -> None:
    cfg = compose_config(f"objective/{name}")
    with torch.device("meta"):
        objective = instantiate(cfg.objective, _partial_=True)(config=read("bert_tiny"))
    assert type(objective) is kind
    found = {name: quantity.loss_weight for name, quantity in objective.quantities.items() if quantity.loss_weight}
    assert found == weights
    assert objective.target_names() == set(name.split("_"))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("distillation", {"soft_loss": 5.0, "mlm_loss": 2.0, "cosine_loss": 1.0}),
        ("layer_distillation", {"embedding_loss": 1.0, "attention_loss": 1.0, "hidden_loss": 1.0}),
        ("relation_distillation", {"query_loss": 1.0, "key_loss": 1.0, "value_loss": 1.0}),
    ],
)
def test_the_files_of_distillation_have_the_published_weights(name: str, weights: dict[str, float]) -> None:
    cfg = compose_config(f"objective/{name}")
    with torch.device("meta"):
        teacher = Teacher(read("bert_base"))
        student = read("distilbert_base")
        objective = instantiate(cfg.objective, _partial_=True)(config=student, teacher=teacher)
    found = {name: quantity.loss_weight for name, quantity in objective.quantities.items() if quantity.loss_weight}
    assert found == weights
    assert objective.target_names() == ({"mlm"} if name == "distillation" else set())


def test_the_file_of_replaced_tokens_has_the_published_weights() -> None:
    cfg = compose_config("objective/replaced_tokens")
    with torch.device("meta"):
        objective = instantiate(cfg.objective, _partial_=True)(config=read("electra_small"))
    found = {name: quantity.loss_weight for name, quantity in objective.quantities.items() if quantity.loss_weight}
    assert found == {"mlm_loss": 1.0, "replaced_loss": 50.0}
    assert objective.generator.config.hidden_size == 64
    assert objective.target_names() == {"mlm"}
