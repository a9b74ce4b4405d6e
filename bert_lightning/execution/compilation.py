"""torch.compile on the path that trains: layer by layer, or the whole objective as one graph.

What is compiled is the `forward` of a module, so names in the state stay as they are, and what a strategy hooks to the
module, such as FSDP2's gathering of parameters, stays outside. The number of tokens differs from batch to batch. With
`dynamic` one graph serves all numbers. Otherwise each shape gets a graph, and the stream of training examples fills
micro-batches up to a few shapes (`FewShapes`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SCOPES = ("layers", "model")
MODES = ("default", "lite", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Modes of torch.compile, checked with torch 2.11 and 2.13, in which no public function lists them."""
RECORDING = ("reduce-overhead", "max-autotune")
FIXED_SHAPES = 8
"""Shapes of micro-batches if each gets a graph: fewer cost more filler, more take longer to compile or record."""
MAX_SHAPES = 64
"""Shapes of micro-batches in all phases of a run, if each gets a graph."""
GRAPHS_OF_A_SHAPE = 8
"""Most graphs of one function for one shape: a layer has one with the rows that are asked about and one without, and
the encoders of an objective share the function."""
_MARK = "_forward_is_compiled"


@dataclass(frozen=True, slots=True)
class Compilation:
    """What is compiled, and how.

    Attributes:
        scope: "layers" compiles every layer, and every module beside the layers, by itself; the same graph serves all
            layers, so it is ready in seconds. "model" compiles the objective as one graph. None compiles nothing.
        mode: Mode of torch.compile, such as "default", "max-autotune-no-cudagraphs", or "reduce-overhead", which
            records CUDA graphs.
        dynamic: Whether one graph serves every number of tokens.
        on_cpu: Whether models on CPUs are compiled too.
        backend: Backend of torch.compile; "aot_eager" makes the graphs and runs them uncompiled, to look for faults.
    """

    scope: str | None = "layers"
    mode: str = "default"
    dynamic: bool = True
    on_cpu: bool = False
    backend: str = "inductor"

    def __post_init__(self) -> None:
        if self.scope not in (None, *SCOPES):
            raise ValueError(f"compile.scope must be one of null, {', '.join(SCOPES)}; got {self.scope}")
        if self.mode not in MODES:
            raise ValueError(f"compile.mode must be one of {', '.join(MODES)}; got {self.mode}")
        if self.mode in RECORDING and self.dynamic:
            raise ValueError(f"compile.mode={self.mode} records CUDA graphs of fixed shapes; set compile.dynamic=false")

    def applies_to(self, device_type: str) -> bool:
        """Return whether models on a device of type "cuda" or "cpu" are compiled."""
        return self.scope is not None and (self.on_cpu or device_type != "cpu")

    def num_shapes(self, device_type: str, num_phases: int = 1) -> int | None:
        """Return how many shapes micro-batches may have; None if one graph, or none, serves them all.

        Args:
            device_type: "cuda" or "cpu".
            num_phases: Phases of the run, each of which has its own shapes.

        Raises:
            ValueError: if the phases have more shapes than graphs are compiled for.
        """
        if not self.applies_to(device_type) or self.dynamic:
            return None
        if num_phases * FIXED_SHAPES > MAX_SHAPES:
            raise ValueError(
                f"compile.dynamic=false compiles graphs for {FIXED_SHAPES} shapes in each of {num_phases} phases, but "
                f"for {MAX_SHAPES} at most; take compile.dynamic=true or fewer phases"
            )
        return FIXED_SHAPES

    def records(self, device_type: str) -> bool:
        """Return whether CUDA graphs are recorded, so that every replay overwrites the gradients of the last one."""
        return self.applies_to(device_type) and self.mode in RECORDING and device_type == "cuda"

    def __call__(self, objective: nn.Module, device_type: str) -> None:
        """Compile an objective in place, at its first use."""
        if not self.applies_to(device_type):
            return
        _set_up_dynamo(optimize_ddp=self.scope == "model")  # a layer is a unit of DDP's overlap already
        options: dict[str, Any] = {"mode": self.mode} if self.backend == "inductor" else {"backend": self.backend}
        for module in [objective] if self.scope == "model" else graph_modules(objective):
            compiled: Any = torch.compile(module.forward, fullgraph=True, dynamic=self.dynamic, **options)
            module.forward = compiled
            vars(module)[_MARK] = True


def _set_up_dynamo(optimize_ddp: bool) -> None:
    """Set the configuration of Dynamo; the names exist in torch 2.11 and 2.13, and setting another one raises.

    Args:
        optimize_ddp: Whether Dynamo cuts a graph where DDP begins to reduce a bucket of gradients.
    """
    config = torch._dynamo.config
    config.recompile_limit = GRAPHS_OF_A_SHAPE * MAX_SHAPES
    config.accumulated_recompile_limit = 4 * GRAPHS_OF_A_SHAPE * MAX_SHAPES
    config.optimize_ddp = optimize_ddp
    config.specialize_float = True  # settings such as probabilities are constants, which kernels are compiled for
    # Without it, sizes that are equal in the first batch by chance are taken for one size.
    torch.fx.experimental._config.use_duck_shape = False


def is_compiled(module: nn.Module) -> bool:
    """Return whether the `forward` of a module itself is compiled."""
    return _MARK in vars(module)


def graph_modules(objective: nn.Module) -> list[nn.Module]:
    """Return the modules that are compiled by themselves: each layer, and the largest modules that hold no layers."""
    if isinstance(objective, nn.ModuleList):
        return [module for layer in objective for module in graph_modules(layer)]
    if not any(isinstance(module, nn.ModuleList) for module in objective.modules()):
        return [objective] if any(True for _ in objective.parameters()) else []
    return [module for child in objective.children() for module in graph_modules(child)]
