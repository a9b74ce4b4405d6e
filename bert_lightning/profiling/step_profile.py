"""The operations of torch's profiler, sorted into a few kinds of work and modules of the model.

Every operation counts once, with the time of the kernels it has started on a GPU, or else with its processor time
outside the operations it calls.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

DATA_WAIT, FORWARD, CLIP, METRICS = "data wait", "forward", "clip", "metrics"
"""Names of the ranges that the training loop marks."""
MODULE_RANGE = "module: "
"""Prefix of the names of the ranges around modules of the model."""
PHASES = ("forward", "backward", "optimizer", "around")
_BACKWARD = "autograd::engine::evaluate_function"

# The first that one of the names fits decides: of the kernel, the operation and all operations around it.
KINDS: tuple[tuple[str, str], ...] = (
    ("waiting for data", DATA_WAIT),
    ("communication", r"nccl|gloo|c10d|all_?reduce|all_?gather|reduce_?scatter"),
    ("optimizer", r"Optimizer\.step|_fused_adam"),
    ("attention", r"attend_(each|fused)|^(forward|query|key_value)_kernel$|flash|fmha"),
    ("copies and casts", r"^(aten::copy_|aten::_to_copy|aten::clone|aten::fill_|aten::zero_|Mem(cpy|set).*)$"),
    ("matrix products", r"addmm|aten::(mm|bmm|matmul|linear)\b|gemm|cutlass|nvjet|scaled_mm|Float8|mkldnn"),
    ("loss", r"softmax|nll_loss|cross_entropy|argmax"),
    ("normalization", r"normalize_|layer_norm|LayerNorm"),
    ("dropout and residual", r"dropout|random_|bernoulli|addcmul"),
    ("activation", r"gelu|tanh|relu"),
    ("embeddings, gathered rows", r"embedding|index|gather|scatter"),
    ("gradient norm", rf"^{CLIP}$|vector_norm|foreach_norm"),
    ("metrics", rf"^{METRICS}$"),
    ("sums and other arithmetic", r"^aten::(sum|add_?|mul_?|div_?|cat|stack)$"),
)
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Slice:
    """Time of one operation.

    Attributes:
        name: Name of the operation or its kernel.
        kind: One of KINDS, or OTHER.
        phase: One of PHASES.
        module: Name of the module that the operation runs in; empty if it runs in none.
        seconds: Time of the operation without the operations inside it.
    """

    name: str
    kind: str
    phase: str
    module: str
    seconds: float


def slices(events: Iterable[Any], on_gpu: bool) -> list[Slice]:
    """Return the time of all operations of torch.profiler's `events()`."""
    operations = [event for event in events if event.device_type.name == "CPU"]
    modules = {event.sequence_nr: name for event in operations if event.sequence_nr >= 0 and (name := _module(event))}
    found = []
    for event in operations:
        chain = list(_chain(event))
        phase = _phase(chain)
        numbers = (above.sequence_nr for above in _around(event) if above.name.startswith(_BACKWARD))
        module = _module(event) or next((modules[number] for number in numbers if number in modules), "")
        for name, seconds in _own_times(event, on_gpu):
            found.append(Slice(name, _kind([name, *chain]), phase, module, seconds))
    return found


def _own_times(event: Any, on_gpu: bool) -> list[tuple[str, float]]:
    if on_gpu:
        return [(kernel.name, kernel.duration / 1e6) for kernel in event.kernels]
    return [(event.name, event.self_cpu_time_total / 1e6)] if event.self_cpu_time_total else []


def _around(event: Any) -> Iterator[Any]:
    """Yield an operation and all operations around it, from within."""
    while event is not None:
        yield event
        event = event.cpu_parent


def _chain(event: Any) -> Iterator[str]:
    return (above.name for above in _around(event) if not above.name.startswith(MODULE_RANGE))


def _module(event: Any) -> str:
    names = (above.name for above in _around(event))
    return next((name.removeprefix(MODULE_RANGE) for name in names if name.startswith(MODULE_RANGE)), "")


def _phase(chain: list[str]) -> str:
    if any(name.startswith(_BACKWARD) for name in chain):
        return "backward"
    if any(name.startswith("Optimizer.step") or name == CLIP for name in chain):
        return "optimizer"
    return "forward" if FORWARD in chain else "around"


def _kind(names: list[str]) -> str:
    return next((kind for kind, pattern in KINDS if any(re.search(pattern, name) for name in names)), OTHER)


def by_kind_and_phase(found: Iterable[Slice]) -> dict[str, dict[str, float]]:
    """Return seconds by kind, the largest first, and phase."""
    table: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(PHASES, 0.0))
    for one in found:
        table[one.kind][one.phase] += one.seconds
    return dict(sorted(table.items(), key=lambda row: -sum(row[1].values())))


def by_module(found: Iterable[Slice]) -> dict[str, float]:
    """Return seconds of forward and backward passes by module of the model, the largest first."""
    table: dict[str, float] = defaultdict(float)
    for one in found:
        if one.phase in ("forward", "backward"):
            table[one.module or "between the modules"] += one.seconds
    return dict(sorted(table.items(), key=lambda row: -row[1]))


def largest(found: Iterable[Slice], count: int) -> list[tuple[str, float, int]]:
    """Return name, seconds and calls of the operations that take most."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for one in found:
        seconds[one.name] += one.seconds
        calls[one.name] += 1
    return [(name, seconds[name], calls[name]) for name in sorted(seconds, key=lambda name: -seconds[name])[:count]]
