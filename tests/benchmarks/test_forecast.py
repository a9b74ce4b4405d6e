"""The forecast of a run: every step of every phase counts, however it is cut into micro-batches."""

from dataclasses import replace

import pytest

from bert_lightning.benchmarks import forecast
from bert_lightning.benchmarks.forecast import seconds_of_steps
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.phases import Phase, Phases
from tests.support.contestants import SETTING


def test_steps_take_as_long_as_their_micro_batches_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the clock: a micro-batch takes one second a token."""

    class Runner:
        def __init__(self, tokens: int) -> None:
            self.median_seconds = tokens

    monkeypatch.setattr(forecast, "race", lambda models, batches, *args, **kwargs: [Runner(batches[0].num_tokens)])
    short = Phase(num_steps=10, seq_len=16, global_batch_size=8, micro_batch_size=4, masking=TokenMasking())
    long = replace(short, num_steps=3, seq_len=32, micro_batch_size=8)
    assert seconds_of_steps(SETTING, Phases((short, long))) == 10 * 8 * 16 + 3 * 8 * 32


def test_real_steps_take_time() -> None:
    phase = Phase(num_steps=2, seq_len=16, global_batch_size=4, micro_batch_size=4, masking=TokenMasking())
    once, twice = (seconds_of_steps(SETTING, Phases((replace(phase, num_steps=n),))) for n in (1, 10**9))
    assert 0 < once < twice
