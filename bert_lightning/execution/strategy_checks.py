"""Whether the settings of a strategy fit the processes, the precision and the compilation."""

import torch

from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.strategies import FullyShardedStrategy, ranks_of_one_copy
from bert_lightning.settings.config import Processes
from bert_lightning.settings.hardware import lightning_precision


def check_sharding(
    strategy: FullyShardedStrategy, processes: Processes, precision: str, compilation: Compilation
) -> None:
    """Raise a ValueError if the settings of strategy=fsdp do not fit processes, precision or compilation."""
    if compilation.scope == "model":
        raise ValueError("compile.scope=model is one graph, but strategy=fsdp gathers layer by layer; take layers")
    if compilation.records(processes.device_type):
        raise ValueError(
            f"compile.mode={compilation.mode} records CUDA graphs of parameters that stay where they are, but "
            "strategy=fsdp gathers them anew for every pass; take compile.mode=default"
        )
    if processes.size == 1:
        raise ValueError("strategy=fsdp splits the model over processes, but there is one; take strategy=single")
    ranks_of_one_copy(strategy.shard_size, processes.devices, processes.num_nodes)
    if strategy.options.param_dtype == torch.bfloat16 and lightning_precision(precision) != "bf16-mixed":
        raise ValueError(f"strategy.param_dtype=bfloat16 needs trainer.precision=bf16-mixed, not {precision}")
