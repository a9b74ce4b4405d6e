"""The list `phases` of the settings: what is completed, and what is refused with its name and values."""

from typing import Any

import pytest

from bert_lightning.settings.config import Processes
from bert_lightning.settings.phase_settings import build_phases, check_phases, complete_phases
from data_pipeline.masking.word_masking import SpanMasking
from tests.support.configs import compose_config

DATA = {"seq_len": 128, "global_batch_size": 256, "micro_batch_size": 32}


def compose(phases: str, *changes: str) -> Any:
    return compose_config("pretrain", ["data.path=x", "trainer.max_steps=1000", f"phases={phases}", *changes])


def test_a_run_without_phases_has_one() -> None:
    assert complete_phases(compose("null")) == [{"steps": 1000} | DATA]
    (phase,) = build_phases(compose("null", "masking=span", "masking.mask_prob=0.2"))
    assert (phase.num_steps, phase.seq_len, phase.masking.prediction_share) == (1000, 128, 0.2)
    assert isinstance(phase.masking, SpanMasking)


@pytest.mark.parametrize(
    ("phases", "steps"),
    [
        ("[{share:0.9},{share:0.1}]", [900, 100]),
        ("[{share:0.9},{}]", [900, 100]),
        ("[{steps:1},{steps:999}]", [1, 999]),
        ("[{steps:10},{share:0.3333},{}]", [10, 333, 657]),
        ("[{share:0.3335},{share:0.3335},{share:0.333}]", [334, 334, 332]),
        ("[{}]", [1000]),
    ],
)
def test_steps_and_shares_are_those_of_the_run(phases: str, steps: list[int]) -> None:
    assert [entry["steps"] for entry in complete_phases(compose(phases))] == steps


def test_an_entry_takes_what_it_does_not_name_from_the_groups() -> None:
    cfg = compose("[{seq_len:32,mask_prob:0.3,share:0.5},{global_batch_size:64,seq_len:null}]", "masking=span")
    entries = complete_phases(cfg)
    assert entries == [
        {"steps": 500} | DATA | {"seq_len": 32, "mask_prob": 0.3},
        {"steps": 500} | DATA | {"global_batch_size": 64},
    ]
    first, last = build_phases(cfg)
    assert (first.seq_len, first.masking.prediction_share) == (32, 0.3)
    assert (last.global_batch_size, last.masking.prediction_share) == (64, 0.15)
    assert isinstance(first.masking, SpanMasking)
    assert first.masking.describe() | {"mask_prob": 0.15} == last.masking.describe()


def test_the_recipe_of_bert_has_its_two_phases() -> None:
    """Devlin et al. (2019), appendix A.2."""
    cfg = compose_config("pretrain", ["experiment=bert_two_phases", "data.path=x"])
    phases = build_phases(cfg)
    assert [(phase.num_steps, phase.seq_len, phase.global_batch_size) for phase in phases] == [
        (900_000, 128, 256),
        (100_000, 512, 256),
    ]
    check_phases(complete_phases(cfg), Processes("gpu", 2, 1, False), cfg.model.max_position_embeddings)
    assert cfg.schedule.max_steps == 1_000_000


def test_complete_phases_are_complete() -> None:
    """The settings that are written into the folder of a run mean the same phases."""
    entries = complete_phases(compose("[{share:0.34,mask_prob:0.5},{share:0.33},{seq_len:64}]"))
    again = compose("null")
    again.phases = entries
    assert complete_phases(again) == entries


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ("7", r"phases must be null, or a list such as .*; got 7"),
        ("[]", r"phases must be null, or a list such as .*; got \[\]"),
        ("[7]", r"phases must be null, or a list such as .*; got \[7\]"),
        ("{seq_len:7}", r"phases must be null, or a list"),
        ("[{length:32}]", r"phases\[0\]\.length is none of steps, share, seq_len, .*; got 32"),
        ("[{share:0.5},{seq_len:4}]", r"phases\[1\]\.seq_len must be a whole number, at least 8; got 4"),
        ("[{share:0.5},{micro_batch_size:0}]", r"phases\[1\]\.micro_batch_size must be .* at least 1; got 0"),
        ("[{steps:0},{}]", r"phases\[0\]\.steps must be a whole number, at least 1; got 0"),
        ("[{steps:1.5},{}]", r"phases\[0\]\.steps must be .*; got 1.5"),
        ("[{share:90},{}]", r"phases\[0\]\.share must be a number above 0, at most 1; got 90"),
        ("[{share:true},{}]", r"phases\[0\]\.share must be .*; got True"),
        ("[{share:abc},{}]", r"phases\[0\]\.share must be .*; got abc"),
        ("[{mask_prob:0,share:0.5},{}]", r"phases\[0\]\.mask_prob must be .*; got 0"),
        ("[{share:0.5,steps:5},{}]", r"phases\[0\] has steps=5 and share=0\.5; give one of them"),
        ("[{},{steps:5}]", r"phases\[0\] has neither steps nor share; only the last"),
        ("[{steps:1000},{}]", r"phases before the last one have 1000 steps, .*; trainer\.max_steps=1000"),
        ("[{share:0.0001},{}]", r"phases before the last one have 0 steps, .*; trainer\.max_steps=1000"),
        ("[{steps:10},{steps:20}]", r"phases have 10, 20 steps, 30 together; trainer\.max_steps=1000"),
        ("[{share:0.5},{share:0.4}]", r"phases have 500, 400 steps, 900 together; trainer\.max_steps=1000"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        complete_phases(compose(phases))


@pytest.mark.parametrize(
    ("experiment", "steps"),
    [("demo", [1200, 350]), ("laptop_hour", [5700, 2700]), ("laptop_night", [11_000, 4500])],
)
def test_phases_of_a_budget_follow_the_length_of_the_run(experiment: str, steps: list[int]) -> None:
    def composed(*changes: str) -> list[int]:
        cfg = compose_config("pretrain", ["data.path=x", f"experiment={experiment}", *changes])
        return [entry["steps"] for entry in complete_phases(cfg)]

    assert composed() == steps
    assert composed("trainer.max_steps=155")[0] == round(155 * steps[0] / sum(steps))


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ("null", "data.global_batch_size=256 is not a multiple of data.micro_batch_size=32 times 3 processes = 96"),
        ("[{share:0.5,global_batch_size:96},{}]", r"phases\[1\]\.global_batch_size=256 is not .* = 96"),
        ("[{share:0.5,seq_len:640,global_batch_size:96},{}]", r"phases\[0\]\.seq_len=640 is above model.max_pos.*=512"),
    ],
)
def test_sizes_that_contradict_processes_or_the_model_are_refused(phases: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_phases(complete_phases(compose(phases)), Processes("cpu", 3, 1, False), 512)
    check_phases(complete_phases(compose(phases)), Processes("cpu", 1, 1, False), 640)
