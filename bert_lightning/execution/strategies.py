"""How many processes hold and update one model: one, each with a whole copy (DDP), or each with a shard (FSDP2)."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch._C._distributed_c10d import Reducer
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from bert_lightning.checkpoints.sharded_checkpoint import FolderWriter, load_file, load_folder
from bert_lightning.distributed.collectives import any_rank
from bert_lightning.execution.launch_environment import said_if_long
from bert_lightning.execution.sharding import ShardingOptions, shard
from data_pipeline.untrusted.internals import check_internal

log = logging.getLogger(__name__)

Hook = Callable[[Any, Any], Future[Tensor]]


def single_device(accelerator: str) -> SingleDeviceStrategy:
    """Return the strategy of one process on the first device."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return SingleDeviceStrategy(torch.device("cuda", 0) if on_gpu else torch.device("cpu"))


def _sum_in_bf16(group: Any, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    """Pass on to torch's hook, which DDP refuses by its name on CPUs, though gloo can run it."""
    return bf16_compress_hook(group, bucket)


for _owner, _name, _version in (
    (DDPStrategy, "_register_ddp_hooks", "lightning 2.6.6"),  # overridden
    (DistributedDataParallel, "_set_static_graph", "torch 2.11 and 2.13"),  # called late; the argument is too early
    (Reducer, "prepare_for_forward", "torch 2.11 and 2.13"),  # DDP calls it once a forward, too early for us
):
    check_internal(_owner, _name, _version)

COMPRESSIONS: dict[str, Hook | None] = {"none": None, "bf16": _sum_in_bf16}


class ReplicatedStrategy(DDPStrategy):
    """DDP: a whole copy of the model on every rank, gradients are averaged once per optimizer step.

    Args:
        gradient_compression: "bf16" sends gradients in half the bytes and rounds them to 8 bits of mantissa.
        static_graph: Every step uses the same parameters in the same order.
        timeout_seconds: How long a rank waits for the others in one communication before it gives up.
        **options: For DistributedDataParallel.
    """

    def __init__(
        self,
        gradient_compression: str = "none",
        static_graph: bool = False,
        timeout_seconds: float = 2400,
        **options: Any,
    ) -> None:
        if gradient_compression not in COMPRESSIONS:
            raise ValueError(
                f"strategy.gradient_compression={gradient_compression} is none of {', '.join(COMPRESSIONS)}"
            )
        super().__init__(timeout=_timeout(timeout_seconds), **options)
        self._hook = COMPRESSIONS[gradient_compression]
        self._static_graph = static_graph

    def setup_environment(self) -> None:
        """Meet the other ranks, and say so if they do not come."""
        with said_if_long(self.num_nodes * self.num_processes):
            super().setup_environment()

    def _register_ddp_hooks(self) -> None:
        """Take the hook on every device; Lightning takes it on GPUs only."""
        assert isinstance(self.model, DistributedDataParallel)
        for name in ("require_backward_grad_sync", "reducer"):
            check_internal(self.model, name, "torch 2.11 and 2.13")
        if self._hook is not None:
            self.model.register_comm_hook(None, self._hook)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Begin the step as one that reduces nothing: its last micro-batch says when it does.

        DDP takes a call of its forward for one backward pass; here a call holds all micro-batches of a step.
        """
        self.reduce_gradients(False)
        return super().training_step(*args, **kwargs)

    def reduce_gradients(self, reduces: bool) -> None:
        """Say whether the next backward pass averages gradients over the ranks."""
        if isinstance(self.model, DistributedDataParallel):
            self.model.require_backward_grad_sync = reduces  # read by DDP's forward and Lightning's pre_backward

    def _reducing_model(self) -> DistributedDataParallel | None:
        """Return the model if the backward pass averages gradients over the ranks."""
        model = self.model
        return model if isinstance(model, DistributedDataParallel) and model.require_backward_grad_sync else None

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Tell DDP that a pass begins which reduces.

        A static graph begins to count how often a parameter is used with the first such pass, not before.
        """
        if model := self._reducing_model():
            if self._static_graph and not model.static_graph:
                model._set_static_graph()
            model.reducer.prepare_for_forward()
        super().pre_backward(closure_loss)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint file on the first rank; OSError on every rank if it could not."""
        problem = None
        try:
            super().save_checkpoint(checkpoint, filepath, storage_options)
        except OSError as error:
            problem = error
        if any_rank(problem is not None, self.root_device):
            raise problem or OSError(f"the first rank could not save {filepath}")

    def post_backward(self, closure_loss: Tensor) -> None:
        """With a static graph, send the first gradients once they are complete, not after the first micro-batch."""
        if self._reducing_model():
            super().post_backward(closure_loss)


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2: parameters, gradients and optimizer state split over the ranks; a checkpoint is a folder.

    Args:
        shard_size: Ranks that hold one copy of the model together: null for all, "node" for those of a node, or a
            number. Fewer than all means several copies, whose gradients are averaged (hybrid sharding).
        reshard_after_forward: See `ShardingOptions`.
        param_dtype: Name of the dtype in which parameters are gathered: "float32" or "bfloat16".
        async_save: Write checkpoints while training goes on, from a copy in host memory.
        timeout_seconds: How long a rank waits for the others in one communication before it gives up.
    """

    def __init__(
        self,
        shard_size: int | str | None = None,
        reshard_after_forward: bool = True,
        param_dtype: str = "float32",
        async_save: bool = False,
        timeout_seconds: float = 2400,
    ) -> None:
        if param_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"strategy.param_dtype={param_dtype} is neither float32 nor bfloat16")
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, timeout=_timeout(timeout_seconds))
        self.shard_size = shard_size
        self._writer = FolderWriter(async_save)
        self.options = ShardingOptions(reshard_after_forward, getattr(torch, param_dtype))

    def setup_environment(self) -> None:
        """Take all ranks of all nodes as the data-parallel group."""
        check_internal(self, "_data_parallel_size", "lightning 2.6.6")
        self._data_parallel_size = self.num_nodes * self.num_processes
        with said_if_long(self._data_parallel_size):
            super().setup_environment()

    def shard(self, objective: nn.Module) -> None:
        """Split an objective over the ranks, in place; all ranks must call it."""
        size = ranks_of_one_copy(self.shard_size, self.num_processes, self.num_nodes)
        kind = self.root_device.type
        mesh = (
            self.device_mesh["data_parallel"]
            if size == self.world_size
            else init_device_mesh(kind, (self.world_size // size, size), mesh_dim_names=("replicate", "shard"))
        )
        shard(objective, mesh, self.options)

    def reduce_gradients(self, reduces: bool) -> None:
        """Say whether the next backward pass averages gradients over the ranks."""
        assert self.lightning_module is not None
        for module in self.lightning_module.children():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(reduces)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = True) -> dict[str, Any]:
        """Load a folder, or a file that another strategy has written."""
        path = Path(self.broadcast(checkpoint_path))
        assert self.model is not None
        load = load_folder if path.is_dir() else load_file
        return load(path, self.model, self.optimizers)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint folder; OSError on every rank if one rank could not write."""
        path = Path(self.broadcast(filepath))
        tensors = {"state_dict": checkpoint.pop("state_dict")}
        for number, state in enumerate(checkpoint.pop("optimizer_states", [])):
            tensors[f"optimizer_{number}"] = state
        self._writer.save(tensors, checkpoint, path)

    def finish_saving(self) -> None:
        """Wait for an asynchronous save; OSError on every rank if it failed."""
        self._writer.finish()

    def teardown(self) -> None:
        """Let a save that is under way come to its end."""
        problem = self._writer.wait()
        if problem is not None:
            log.warning("a checkpoint could not be saved: %s", problem)
        super().teardown()


def ranks_of_one_copy(shard_size: int | str | None, devices: int, num_nodes: int) -> int:
    """Return how many ranks hold one copy of the model together.

    >>> ranks_of_one_copy(None, 8, 4), ranks_of_one_copy("node", 8, 4), ranks_of_one_copy(16, 8, 4)
    (32, 8, 16)

    Raises:
        ValueError: if the ranks cannot be divided so.
    """
    world_size = devices * num_nodes
    size = {None: world_size, "node": devices}.get(shard_size, shard_size)  # type: ignore[arg-type]
    if not isinstance(size, int) or size < 2 or world_size % size:
        raise ValueError(
            f"strategy.shard_size={shard_size} must be null, node, or a number from 2 that divides the {world_size} "
            "processes"
        )
    return size


def _timeout(seconds: float) -> timedelta:
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise ValueError(f"strategy.timeout_seconds={seconds} must be a number above 0")
    return timedelta(seconds=seconds)
