"""The model card says what is known of a model, and nothing that is not."""

from typing import Any

import pytest

from bert_lightning.checkpoints.model_card import Training, model_card
from bert_lightning.settings.run_facts import corpus_facts
from data_pipeline.prepared.manifest import Manifest, ShardEntry, SourceEntry
from tests.support.parity import CONFIG

SETTINGS = {
    "objective": {"_target_": "bert_lightning.objectives.mlm_nsp.MaskedLMWithNSP"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-4},
    "trainer": {"max_steps": 90000, "precision": "bf16-mixed"},
    "data": {"seq_len": 32, "global_batch_size": 256, "path": "/secret/data"},
    "phases": [{"steps": 80000, "seq_len": 16}, {"seq_len": 32, "steps": None}],
    "init_from": "outputs/first",
    "seed": 3,
}
SOURCES = [
    SourceEntry("wikipedia", "CC BY-SA 3.0 and GFDL", "a dump", 1200),
    SourceEntry("books", "not stated", "Project Gutenberg | texts", 30),
    SourceEntry("notes", "not stated", "our clinic", 7),
]


def facts(**health: object) -> dict[str, Any]:
    shard = ShardEntry("train/a.tar", 10, "0" * 64, 1, 2, 3, 45_678)
    return corpus_facts(Manifest("0" * 64, 100, {}, SOURCES, {"train": [shard], "validation": []}, health))


def test_a_card_names_data_licenses_recipe_figures_and_limits() -> None:
    training = Training(SETTINGS, facts(unknown_share=0.0123), {"val/mlm_loss": 2.5}, None, folds_case=True)
    card = model_card(CONFIG, "BertForPreTraining", None, training)
    for line in (
        "| wikipedia | a dump | CC BY-SA 3.0 and GFDL | 1,200 |",
        "| books | Project Gutenberg \\| texts | public domain in the USA (Project Gutenberg; its license where its "
        "name is used) | 30 |",
        "| notes | our clinic | not stated | 7 |",
        "train: 45,678 tokens.",
        "| objective | MaskedLMWithNSP |",
        "| optimizer | AdamW |",
        "| steps | 90000 |",
        "| phase 1 | steps=80000, seq_len=16 |",
        "| weights begun with | outputs/first |",
        "| val/mlm_loss | 2.5000 |",
        f"- Texts above {CONFIG.max_position_embeddings} tokens have to be cut.",
        "- It was trained on at most 32 tokens: later positions hold what they held before.",
        "- Its tokenizer folds case, so it does not tell names from words by their case.",
        "- 1.23% of the tokens of its corpus are unknown to its vocabulary.",
    ):
        assert f"\n{line}\n" in card, line
    assert "/secret" not in card


def test_what_is_not_known_is_not_said() -> None:
    card = model_card(CONFIG, "BertModel", None, Training({"seed": 1}))
    assert [line for line in card.splitlines() if line.startswith("#")] == ["# BertModel", "## Limits"]
    assert "case" not in card


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ({"sources": 5}, "the checkpoint has sources=5, which must be"),
        ({"sources": [{"name": "a", "origin": "b", "documents": 1}]}, "the checkpoint lacks licence"),
        ({"sources": [], "tokens": {"train": "x"}}, "the checkpoint has tokens"),
    ],
)
def test_facts_that_are_none_are_refused(corpus: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model_card(CONFIG, "BertModel", None, Training({}, corpus))
