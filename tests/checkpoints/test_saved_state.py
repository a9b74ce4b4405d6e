"""What a checkpoint says is checked before it is used: each absurd value is one line that names it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained, read_about
from bert_lightning.checkpoints.saved_state import (
    check_moments,
    check_progress,
    check_tensors,
    saved_objective,
    stream_position,
)
from tests.support.checkpoints import write_checkpoint, write_sharded_checkpoint

STREAM = {"version": 1, "consumed_samples": 32, "global_batch_size": 8, "fingerprint": {"seed": 1}}
COUNTERS = {"total": {"ready": 4, "completed": 4}, "current": {"ready": 4, "completed": 4}}
GOOD: dict[str, Any] = {
    "epoch": 0,
    "global_step": 4,
    "loops": {
        "fit_loop": {
            "state_dict": {"combined_loader": [STREAM]},
            "epoch_loop.batch_progress": COUNTERS | {"is_last_batch": True},
            "epoch_loop.manual_optimization.optim_step_progress": COUNTERS,
        }
    },
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"params": [0]}]}
    ],
}


class MISSING:
    """Stands for an entry that is taken away."""


def check_and_place(content: dict[str, Any]) -> None:
    """Do what a resume does."""
    check_progress(content, "x.ckpt")
    stream_position(content)


def changed(content: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy of a checkpoint with another value at a path, or none."""
    content = copy.deepcopy(content)
    inner: Any = content
    for step in path[:-1]:
        inner = inner[step]
    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


def test_the_state_of_the_stream_is_returned() -> None:
    check_progress(GOOD, "x.ckpt")
    assert stream_position(GOOD) == STREAM
    newer = {"bert_lightning": {"stream": STREAM | {"consumed_samples": 40}}}
    assert stream_position(GOOD | newer)["consumed_samples"] == 40
    whole = {name: value for name, value in GOOD.items() if name != "optimizer_states"}
    check_progress(whole, "x.ckpt")  # a folder keeps the optimizer elsewhere


def test_an_optimizer_may_leave_a_moment_empty() -> None:
    """Some optimizers store None until a moment is needed, or for good."""
    check_progress(changed(GOOD, ("optimizer_states", 0, "state", 0, "exp_avg"), None), "x.ckpt")


LOADER = ("loops", "fit_loop", "state_dict", "combined_loader")
STEPS = ("loops", "fit_loop", "epoch_loop.manual_optimization.optim_step_progress", "total", "completed")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("loops",), MISSING, "lacks loops"),
        (("loops",), 3, r"lacks loops\.fit_loop: what should hold it is 3"),
        (("loops", "fit_loop"), [], r"has loops\.fit_loop=\[\]"),
        (("global_step",), "4", "has global_step='4', which must be a whole number"),
        (("global_step",), -4, "has global_step=-4"),
        (("global_step",), 5, "has global_step=5, its loops have counted 4"),
        (("epoch",), None, "has epoch=None"),
        (LOADER, [], r"lacks loops\.fit_loop\.state_dict\.combined_loader\.0"),
        ((*LOADER, 0), "x", "has the position in the stream='x'"),
        ((*LOADER, 0, "version"), 2, "has a position in the stream of version 2, not 1"),
        ((*LOADER, 0, "consumed_samples"), -1, "has consumed_samples=-1"),
        ((*LOADER, 0, "consumed_samples"), 10**30, "has consumed_samples=10+"),
        ((*LOADER, 0, "consumed_samples"), MISSING, "lacks consumed_samples"),
        ((*LOADER, 0, "global_batch_size"), 0, "has global_batch_size=0"),
        ((*LOADER, 0, "fingerprint"), None, "has fingerprint=None, which must be an object"),
        (STEPS, "x", r"has loops\.fit_loop\..*completed='x'"),
        (STEPS, MISSING, r"lacks loops\.fit_loop\..*completed"),
        (("loops", "fit_loop", "epoch_loop.batch_progress", "total", "ready"), 1e9, "ready=1000000000.0"),
        (("callbacks",), 3, "has callbacks=3"),
        (("callbacks",), {"Throughput": "x"}, r"has callbacks\.Throughput='x'"),
        (("training_metrics",), "x", "has training_metrics='x'"),
        (("optimizer_states",), 5, "has optimizer_states=5, which must be a list"),
        (("optimizer_states", 0, "state"), {0: 7}, r"has optimizer_states\[0\]\.state\.0=7"),
        (("optimizer_states", 0, "state", 0, "exp_avg"), "x", r"exp_avg='x', which must be a tensor"),
        (("optimizer_states", 0, "param_groups", 0, "params"), [-1], r"params\[0\]=-1"),
    ],
    ids=str,
)
def test_progress_that_makes_no_sense_is_named(path: tuple[str | int, ...], value: object, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^(x\.ckpt|the checkpoint) .*{said}"):
        check_and_place(changed(GOOD, path, value))


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"objective": "late_masks", "config": {"objective": {"_target_": "mine.other.Other"}}}, "late_masks"),
        ({"config": {"objective": {"_target_": "bert_lightning.objectives.late_masks.LateMaskedLM"}}}, "late_masks"),
        ({"config": {"objective": {"_target_": "bert_lightning.objectives.MaskedLMWithNSP"}}}, "mlm_nsp"),
        ({"config": {"seed": 1}}, None),
        ({}, None),
    ],
)
def test_a_checkpoint_tells_its_objective_and_older_ones_by_their_settings(
    payload: dict[str, object], name: str | None
) -> None:
    assert saved_objective({"bert_lightning": payload}, "x") == name


def test_an_objective_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^x has objective=\[1\], which must be text"):
        saved_objective({"bert_lightning": {"objective": [1]}}, "x")


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


TABLE = "objective.encoder.embeddings.token.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(bert_lightning=7), "lacks format_version"),
        (lambda c: c["bert_lightning"].update(format_version=[1]), r"has format_version \[1\], not 1"),
        (lambda c: c["bert_lightning"].pop("model"), "lacks model"),
        (lambda c: c["bert_lightning"]["model"].update(vocab_size="x"), "has model.vocab_size='x'"),
        (lambda c: c["bert_lightning"]["model"].update(vocab_size=10**12), r"vocab_size=1000000000000 is above"),
        (lambda c: c["bert_lightning"]["model"].update(num_hidden_layers=10**9), "num_hidden_layers=10+ is above"),
        (lambda c: c["bert_lightning"]["model"].update(num_hidden_layers=1000), "lacks encoder.layers"),
        (lambda c: c["bert_lightning"]["model"].update(vocab_size=1 << 24), "the token table is"),
        (lambda c: c["bert_lightning"]["model"].update(owner="x"), "has the unknown model.owner"),
        (lambda c: c["bert_lightning"].update(tokenizer=["tokenizer.json"]), "has tokenizer="),
        (lambda c: c["bert_lightning"]["tokenizer"].update({"vocab.txt": 5}), "has tokenizer.vocab.txt=5"),
        (lambda c: c.pop("state_dict"), "lacks state_dict"),
        (lambda c: c["state_dict"].pop(TABLE), "lacks encoder.embeddings.token.weight"),
        (lambda c: c["state_dict"].update({TABLE: "x"}), "is not a plain tensor"),
        (lambda c: c["state_dict"].update({TABLE: c["state_dict"][TABLE].to_sparse()}), "is not a plain tensor"),
        (lambda c: c["state_dict"].update({TABLE: c["state_dict"][TABLE].long()}), "holds torch.int64"),
        (
            lambda c: c["state_dict"].update({TABLE: torch.zeros(1).expand(c["state_dict"][TABLE].shape)}),
            "repeats its numbers",
        ),
    ],
)
def test_a_model_that_makes_no_sense_is_named(
    tmp_path: Path, tokenizer: Tokenizer, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, tokenizer, tmp_path / "tokenizer")
    rewrite(path, change)
    for read in (load_pretrained, read_about):
        with pytest.raises(ValueError, match=said):
            read(path)


def test_moments_have_the_shape_of_their_parameters() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([parameter])
    check_moments(optimizer)
    parameter.grad = torch.ones(3)
    optimizer.step()
    check_moments(optimizer)
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"] = torch.zeros(2)
    optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"exp_avg of shape \(2,\) for a parameter of shape \(3,\)"):
        check_moments(optimizer)


def test_tensors_are_compared_by_name_and_shape(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """A file and a folder say the same of another model, in a line."""
    file, folder = tmp_path / "a" / "step-0000007.ckpt", tmp_path / "b" / "step-0000007.ckpt"
    state = write_checkpoint(file, tokenizer, tmp_path / "tokenizer")
    write_sharded_checkpoint(folder, tokenizer, tmp_path / "tokenizer")
    name = "nsp_head.classifier.bias"
    for checkpoint in (file, folder):
        content = {} if checkpoint.is_dir() else torch.load(checkpoint, weights_only=True)
        check_tensors(content, checkpoint, state)
        for other, said in (
            (
                {**state, name: torch.zeros(3)},
                rf"has {name} of shape \(2,\), an objective of the settings of shape \(3,\)",
            ),
            (
                {key: each for key, each in state.items() if key != name},
                "of shape .* an objective of the settings not at",
            ),
            ({**state, "new.bias": torch.zeros(3)}, r"has new.bias not at all, an objective of the settings of shape"),
        ):
            with pytest.raises(ValueError, match=said):
                check_tensors(content, checkpoint, other)
