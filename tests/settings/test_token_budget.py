"""Steps that follow from a budget in tokens."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.token_budget import with_steps
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.example_lengths import example_lengths
from data_pipeline.streams.samples import PretrainingSamples
from tests.support.runs import compose_here, run_here
from tests.support.settings import Settings


@pytest.mark.parametrize("pairs", ["segment_pair", "sentence_pair", "full_sentences", "doc_sentences"])
def test_the_mean_length_is_that_of_an_epoch(base: Settings, prepared: Path, pairs: str) -> None:
    cfg = compose_here("pretrain", base | {"pairs": pairs})
    made = instantiate(cfg.pairs)
    samples = PretrainingSamples(prepared, "train", made, instantiate(cfg.masking), seq_len=48, seed=0)
    numbers = np.arange(samples.epochs.size(0))
    lengths = samples.find(numbers, samples.locate(numbers)).spans.lengths
    found = example_lengths(PreparedFolder(prepared), samples.entries, made, 48, seed=0)
    assert found.mean() == pytest.approx(lengths.mean(), rel=0.02)


def test_a_run_has_the_tokens_that_it_was_given(base: Settings, tmp_path: Path) -> None:
    """Its schedule ends with its last step, and the same line goes on with it."""
    settings = base | {"trainer.max_tokens": 15000, "trainer.log_every_n_steps": 1, "resume": "auto"}
    trainer = run_here(settings)
    columns = read_columns(tmp_path / "runs" / "bert" / "metrics.csv")
    steps, tokens = columns["progress/tokens"]
    assert steps[-1] == trainer.max_steps
    assert tokens[-1] == pytest.approx(15000, abs=1.5 * tokens[-1] / steps[-1])
    assert columns["optim/lr"][1][-1] < 0.3 * max(columns["optim/lr"][1])


def test_phases_share_the_budget(base: Settings) -> None:
    """Longer sequences in one half of the steps have more tokens a step than in all of them, and fewer than in none."""
    found = []
    for phases in ("[{seq_len: 24}]", "[{seq_len: 24, share: 0.5}, {seq_len: 48}]", "[{seq_len: 48}]"):
        cfg = compose_here("pretrain", base | {"trainer.max_tokens": 1_000_000, "phases": phases})
        found.append(with_steps(cfg).trainer.max_steps)
    short, both, long = found
    assert long < both < short
    assert 1 / both == pytest.approx((1 / short + 1 / long) / 2, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer.max_tokens": 10}, "trainer.max_tokens=10 is less than the .* tokens of one step"),
        ({"trainer.max_tokens": 0}, "trainer.max_tokens"),
        ({"trainer.max_tokens": 10**6, "phases": "[{steps: 3}, {}]"}, "give the phases a share, not steps"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(base: Settings, changes: Settings, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_steps(compose_here("pretrain", base | changes))


def test_without_a_budget_nothing_changes(base: Settings) -> None:
    cfg = compose_here("pretrain", base)
    assert with_steps(cfg) is cfg
