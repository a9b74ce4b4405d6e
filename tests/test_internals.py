"""What libraries do not promise is checked before it is relied on, and said by name when it is gone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from torch.nn.parallel import DistributedDataParallel

from bert_lightning.callbacks.preemption import leave_out_sigterm_broadcast
from bert_lightning.execution.strategies import ReplicatedStrategy
from bert_lightning.metrics.wandb_run import WandbMetrics
from bert_lightning.training.optim import prepare_update
from data_pipeline.untrusted.internals import check_internal


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


def test_a_data_parallel_model_without_its_switches_is_named() -> None:
    strategy = ReplicatedStrategy()
    strategy.model = DistributedDataParallel.__new__(DistributedDataParallel)
    torch.nn.Module.__init__(strategy.model)
    with pytest.raises(RuntimeError, match=r"DistributedDataParallel has no require_backward_grad_sync, .* 2\.11"):
        strategy._register_ddp_hooks()
    strategy.model.require_backward_grad_sync = True
    with pytest.raises(RuntimeError, match=r"DistributedDataParallel has no reducer, .* torch 2\.11"):
        strategy._register_ddp_hooks()


def test_a_wandb_logger_without_its_settings_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    plain = WandbLogger.__init__

    def init(self: Any, **options: Any) -> None:
        plain(self, **options)
        del self._wandb_init

    monkeypatch.setattr(WandbLogger, "__init__", init)
    with pytest.raises(RuntimeError, match=r"WandbMetrics has no _wandb_init, .* lightning 2\.6\.6"):
        WandbMetrics("run", "project", tmp_path)


def test_a_module_is_named_by_its_whole_name() -> None:
    with pytest.raises(RuntimeError, match=r"^torch\.nn has no _gone, "):
        check_internal(torch.nn, "_gone", "torch")


def test_what_is_there_passes() -> None:
    check_internal(dict, "items", "Python")
