"""Every block is a unit of its own, nothing is lost, and the optimizer's groups hold the same parameters as before."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from bert_lightning.checkpoints.sharded_checkpoint import parameter_names
from bert_lightning.execution.sharding import recompute_activations, shard, units_of
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.models.encoder import Encoder
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.training.optim import gradient_norm, parameter_groups, prepare_update
from tests.support.models import tiny_encoder
from tests.support.parity import packed_examples

CONFIG = tiny_encoder(dropout=0.1)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A group of one process; two are in test_pretrain."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_blocks_are_units_and_groups_stay(mesh: DeviceMesh) -> None:
    torch.manual_seed(0)
    plain = MaskedLMWithNSP(CONFIG)
    torch.manual_seed(0)
    sharded = MaskedLMWithNSP(CONFIG)
    shard(sharded, mesh)
    blocks = [m for module in sharded.modules() if isinstance(module, nn.ModuleList) for m in module]
    assert len(blocks) == 2
    assert all(isinstance(block, FSDPModule) for block in [*blocks, sharded])
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    values = dict(plain.named_parameters())
    assert all(torch.equal(p.full_tensor(), values[name]) for name, p in sharded.named_parameters())
    groups = [[parameter_names(model, torch.optim.SGD(parameter_groups(model)))] for model in (plain, sharded)]
    assert groups[0] == groups[1]


def test_clipping_and_skipping_work_on_shards(mesh: DeviceMesh) -> None:
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Linear(4, 4)])
    model.forward = lambda x: model.blocks[0](x)
    shard(model, mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(torch.ones(2, 4)).square().sum().backward()
    norm = gradient_norm(model.parameters())
    assert type(norm) is torch.Tensor
    assert norm.item() == pytest.approx(
        torch.cat([p.grad.full_tensor().flatten() for p in model.parameters()]).norm().item()
    )
    before = [p.full_tensor().clone() for p in model.parameters()]
    assert prepare_update(optimizer, norm * float("nan"), 1.0).item()
    optimizer.step()
    assert all(torch.equal(a, p.full_tensor()) for a, p in zip(before, model.parameters(), strict=True))
    prepare_update(optimizer, norm, 1.0)
    optimizer.step()
    assert not any(torch.equal(a, p.full_tensor()) for a, p in zip(before, model.parameters(), strict=True))


def test_an_optimizer_that_is_not_fused_clips_shards(mesh: DeviceMesh) -> None:
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Linear(4, 4)])
    model.forward = lambda x: model.blocks[0](x)
    shard(model, mesh)
    model(torch.ones(2, 4)).square().sum().backward()
    norm = gradient_norm(model.parameters())
    assert norm > 1
    prepare_update(torch.optim.SGD(model.parameters(), lr=0.1), norm, 1.0)
    assert gradient_norm(model.parameters()).item() == pytest.approx(1.0)


def test_a_model_without_layers_is_refused(mesh: DeviceMesh) -> None:
    with pytest.raises(ValueError, match=r"Linear has no layers \(no nn.ModuleList\) to shard or recompute"):
        shard(nn.Linear(2, 2), mesh)


def test_shared_layers_are_one_unit_and_get_the_same_gradients(mesh: DeviceMesh) -> None:
    """Tokens pass the one unit three times, and it is gathered each time."""
    found = []
    for is_sharded in (False, True):
        torch.manual_seed(0)
        encoder = Encoder(tiny_encoder(101, num_hidden_layers=3, max_position_embeddings=40, shared_parameters="all"))
        if is_sharded:
            shard(encoder, mesh)
        assert len(units_of(encoder)) == 1
        encoder(packed_examples().tokens).square().sum().backward()
        grads = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
        found.append({name: g.full_tensor() if is_sharded else g for name, g in grads.items()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_layers_that_share_a_half_are_refused(mesh: DeviceMesh) -> None:
    encoder = Encoder(tiny_encoder(num_hidden_layers=2, shared_parameters="attention"))
    with pytest.raises(ValueError, match="share a part of their weights, which strategy=fsdp does not take"):
        shard(encoder, mesh)


def test_a_sharded_model_can_keep_its_gradients_to_itself(mesh: DeviceMesh) -> None:
    """Until the last backward pass of a step no parameter has a reduced gradient; then it has the sum."""
    module = L.LightningModule()
    module.objective = nn.Module()
    module.objective.blocks = nn.ModuleList([nn.Linear(4, 1, bias=False)])
    module.objective.forward = lambda x: module.objective.blocks[0](x)
    shard(module.objective, mesh)
    strategy = FullyShardedStrategy()
    strategy.connect(module)
    (weight,) = module.objective.parameters()
    strategy.reduce_gradients(False)
    module.objective(torch.ones(2, 4)).sum().backward()
    assert weight.grad is None
    strategy.reduce_gradients(True)
    module.objective(torch.ones(3, 4)).sum().backward()
    assert torch.equal(weight.grad.full_tensor(), torch.full((1, 4), 5.0))


def keep(saved: list[torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    saved.append(tensor)
    return tensor


def test_recomputing_changes_memory_and_nothing_else() -> None:
    """Dropout included: the second forward pass of a block draws the noise of the first."""
    gradients, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = nn.Module()
        model.blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.5)) for _ in range(4))
        names = [name for name, _ in model.named_parameters()]
        if recompute:
            recompute_activations(model)
        assert [name for name, _ in model.named_parameters()] == names
        saved: list[torch.Tensor] = []
        hidden = torch.ones(8, 64)
        with torch.autograd.graph.saved_tensors_hooks(partial(keep, saved), lambda x: x):
            for block in model.blocks:
                hidden = block(hidden)
        hidden.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        kept.append(sum(tensor.numel() for tensor in saved))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < kept[0] / 2
