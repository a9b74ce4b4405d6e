"""Look into a few training steps: a trace of all operations, and a page that says what a step spends its time on."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.hooks import RemovableHandle

from bert_lightning.execution.compilation import graph_modules, is_compiled
from bert_lightning.profiling.profile_page import Profiled, write_profile
from bert_lightning.profiling.step_profile import MODULE_RANGE, slices
from bert_lightning.training.modules import TrainingModule
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.whole_numbers import check_whole_number, number_of

log = logging.getLogger(__name__)


class StepProfile(L.Callback):
    """Profile `num_steps` steps after the first `skip_steps` on the first rank; the run then goes on as before.

    Args:
        folder: For trace.json.gz, summary.md and summary.png.
        skip_steps: Steps of this process before the first one: compilation and caches settle.
        num_steps: Steps to profile.
    """

    def __init__(self, folder: str | Path, skip_steps: int = 10, num_steps: int = 5) -> None:
        check_whole_number("callbacks.profile.skip_steps", skip_steps, least=0)
        check_whole_number("callbacks.profile.num_steps", num_steps)
        self.folder = Path(folder)
        self.skip_steps = skip_steps
        self.num_steps = num_steps
        self._profiler: Any = None
        self._marks: list[RemovableHandle] = []
        self._steps_seen = 0
        self._begin, self._tokens = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Mark the modules before the first step, so that the compiler sees them as they will be profiled."""
        self._steps_seen = 0
        if trainer.is_global_zero:
            self._marks = mark_modules(pl_module.objective)
        self._start_if_due(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: list[PackedBatch], batch_idx: int
    ) -> None:
        """Count the step, begin or end."""
        self._steps_seen += 1
        if self._profiler is not None:
            self._tokens += sum(micro_batch.num_tokens for micro_batch in batch)
            if self._steps_seen == self.skip_steps + self.num_steps:
                self._stop(trainer, pl_module)
        self._start_if_due(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Say if the run was too short, and take the marks away."""
        for mark in self._marks:
            mark.remove()
        if self._profiler is not None:
            self._stop(trainer, pl_module)
        elif trainer.is_global_zero and self._steps_seen < self.skip_steps + self.num_steps:
            log.warning(
                "no profile: the run made %s, skip_steps=%d", number_of(self._steps_seen, "step"), self.skip_steps
            )

    def _start_if_due(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._steps_seen != self.skip_steps or not trainer.is_global_zero:
            return
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (pl_module.device.type == "cuda")]
        with profile(activities=activities):
            torch.zeros(1, device=pl_module.device)  # the first profile of a process sets up the device's tracing
        self._profiler = profile(activities=activities)
        self._profiler.__enter__()
        self._begin, self._tokens = _now(pl_module.device), 0

    def _stop(self, trainer: L.Trainer, pl_module: TrainingModule) -> None:
        seconds = _now(pl_module.device) - self._begin
        self._profiler.__exit__(None, None, None)
        profiler, self._profiler = self._profiler, None
        on_gpu = pl_module.device.type == "cuda"
        num_steps = self._steps_seen - self.skip_steps
        profiled = Profiled(
            slices(profiler.events(), on_gpu),
            num_steps,
            seconds,
            trainer.global_step - num_steps + 1,
            self._tokens,
            {
                "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
                "precision": str(trainer.precision),
                "compiled": "yes" if any(map(is_compiled, pl_module.objective.modules())) else "no",
                "torch": torch.__version__,
            },
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json.gz"))
        log.info("profile: %s", write_profile(profiled, self.folder))


def _now(device: torch.device) -> float:
    """Return the time when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def mark_modules(objective: nn.Module) -> list[RemovableHandle]:
    """Have the profiler see in which module of an objective it is; not if the objective is compiled as a whole.

    Returns:
        Handles that take the marks away again.
    """
    if is_compiled(objective):
        return []
    names = {module: name for name, module in objective.named_modules()}
    handles = []
    for module in graph_modules(objective):
        enter, leave = _range(MODULE_RANGE + ".".join(word for word in names[module].split(".") if not word.isdigit()))
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    return handles


def _range(name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    ranges: list[AbstractContextManager[Any]] = []

    def enter(*args: Any) -> None:
        ranges.append(record_function(name))
        ranges[-1].__enter__()

    def leave(*args: Any) -> None:
        ranges.pop().__exit__(None, None, None)

    return enter, leave
