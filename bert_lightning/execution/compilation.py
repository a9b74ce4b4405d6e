"""torch.compile on the path that trains: layer by layer, or the whole objective as one graph.

What is compiled is the `forward` of a module, so names in the state stay as they are, and what a strategy hooks to the
module, such as FSDP2's gathering of parameters, stays outside. The number of tokens differs from batch to batch; with
`dynamic` one graph serves all, otherwise each of the few shapes of `PackedShape` gets its own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SCOPES = ("layers", "model")
RECORDING = ("reduce-overhead", "max-autotune")
MAX_SHAPES = 64
"""How many shapes of one function are compiled before torch gives up and runs it uncompiled; its own limit is 8."""
_MARK = "_forward_is_compiled"


@dataclass(frozen=True, slots=True)
class Compilation:
    """What is compiled, and how.

    Attributes:
        scope: "layers": every layer, and the parts around them, on its own; the same graph serves all layers, so it is
            ready in seconds. "model": the objective as one graph. None compiles nothing.
        mode: torch.compile's, as "default", "max-autotune-no-cudagraphs", or "reduce-overhead" for CUDA graphs.
        dynamic: Whether one graph serves every number of tokens.
        on_cpu: Whether to compile where there is no GPU, too.
        backend: torch.compile's; "aot_eager" makes the graphs and runs them uncompiled, to look for faults.
    """

    scope: str | None = "layers"
    mode: str = "default"
    dynamic: bool = True
    on_cpu: bool = False
    backend: str = "inductor"

    def __post_init__(self) -> None:
        if self.scope not in (None, *SCOPES):
            raise ValueError(f"compile.scope={self.scope} is none of null, {', '.join(SCOPES)}")
        modes = torch._inductor.list_mode_options()
        if self.mode not in modes:
            raise ValueError(f"compile.mode={self.mode} is none of {', '.join(modes)}")
        if self.mode in RECORDING and self.dynamic:
            raise ValueError(f"compile.mode={self.mode} records CUDA graphs of fixed shapes; set compile.dynamic=false")

    def applies_to(self, device_type: str) -> bool:
        """Return whether models on such a device are compiled."""
        return self.scope is not None and (self.on_cpu or device_type != "cpu")

    def __call__(self, objective: nn.Module, device_type: str) -> None:
        """Compile an objective in place, at its first use."""
        if not self.applies_to(device_type):
            return
        torch._dynamo.config.recompile_limit = MAX_SHAPES
        torch._dynamo.config.accumulated_recompile_limit = 4 * MAX_SHAPES
        torch._dynamo.config.optimize_ddp = self.scope == "model"  # a layer is a piece of the overlap as it is
        # Sizes that happen to be equal in the first batch are not the same size.
        torch.fx.experimental._config.use_duck_shape = False
        options: dict[str, Any] = {"mode": self.mode} if self.backend == "inductor" else {"backend": self.backend}
        for module in [objective] if self.scope == "model" else parts_of(objective):
            compiled: Any = torch.compile(module.forward, fullgraph=True, dynamic=self.dynamic, **options)
            module.forward = compiled
            vars(module)[_MARK] = True


def is_compiled(module: nn.Module) -> bool:
    """Return whether the `forward` of a module itself is compiled."""
    return _MARK in vars(module)


def parts_of(objective: nn.Module) -> list[nn.Module]:
    """Return the largest modules that hold no list of layers, and each of the layers: what a graph can be made of."""
    if isinstance(objective, nn.ModuleList):
        return [part for layer in objective for part in parts_of(layer)]
    if not any(isinstance(module, nn.ModuleList) for module in objective.modules()):
        return [objective] if any(True for _ in objective.parameters()) else []
    return [part for child in objective.children() for part in parts_of(child)]
