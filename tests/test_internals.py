"""What libraries do not promise is checked before it is relied on, and said by name when it is gone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bert_lightning.callbacks.preemption import leave_out_sigterm_broadcast
from bert_lightning.training.optim import prepare_update
from data_pipeline.internals import check_internal


def test_lightning_without_the_broadcast_is_named() -> None:
    trainer: Any = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()))
    with pytest.raises(RuntimeError, match=r"no _broadcast_sigterm_tensor, .* lightning 2\.6\.6"):
        leave_out_sigterm_broadcast(trainer)


def test_a_fused_optimizer_that_ignores_found_inf_is_named() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)
    prepare_update(optimizer, torch.tensor(1.0), None)
    del optimizer._step_supports_amp_scaling
    with pytest.raises(RuntimeError, match=r"AdamW has no _step_supports_amp_scaling, .* torch 2\.11"):
        prepare_update(optimizer, torch.tensor(1.0), None)


def test_what_is_there_passes() -> None:
    check_internal(dict, "items", "Python")
