"""Signals and the end of the time: finish the step, agree among the ranks, save, stop, and be queued again.

Lightning's handlers broadcast and save inside the signal handler, which deadlocks with several ranks. These only
set a flag; the collective work is done after a step, where every rank is.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from bert_lightning.callbacks.checkpointing import PeriodicCheckpoint
from bert_lightning.distributed.collectives import SharedFlags
from bert_lightning.metrics.wandb_run import HURRIED_SECONDS, end_wandb_run
from bert_lightning.settings.cli import INTERRUPTED
from bert_lightning.training.time_limit import seconds_of
from data_pipeline.untrusted.internals import check_internal
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The end of a job; Ctrl-C; a lost terminal; SLURM before the time limit (`--signal=USR1@300`); submitit."""


def leave_out_sigterm_broadcast(trainer: L.Trainer) -> None:
    """Stop Lightning from agreeing on SIGTERM by a broadcast, which waits for the device at every batch."""
    epoch_loop: Any = trainer.fit_loop.epoch_loop
    check_internal(epoch_loop, "_broadcast_sigterm_tensor", "lightning 2.6.6")
    epoch_loop._broadcast_sigterm_tensor = lambda: None
    connector: Any = trainer._signal_connector
    check_internal(connector, "received_sigterm", "lightning 2.6.6")
    connector.received_sigterm = False  # the loop raises an error after the next step otherwise


class Preemption(Checkpoint):
    """Save a checkpoint and stop when any rank is told to, or when the time is over on the clock of the first rank.

    It is a `Checkpoint` so that Lightning calls it after the callbacks whose state it saves. A second Ctrl-C ends the
    process at once. Signals that the process ignores, as `nohup` has it ignore SIGHUP, stay ignored.

    Args:
        check_every_n_steps: Steps between two agreements; each is one message of a few bytes between hosts.
        max_time: How long this launch may train, as DD:HH:MM:SS; None for no limit.
        clock: Seconds since any moment.
    """

    def __init__(
        self,
        check_every_n_steps: int = 1,
        max_time: str | Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_whole_number("callbacks.preemption.check_every_n_steps", check_every_n_steps)
        super().__init__()
        self.check_every_n_steps = check_every_n_steps
        self._max_time = max_time
        self._seconds = seconds_of(max_time)
        self._clock = clock
        self._began = clock()
        self.preempted = False
        self.received: set[signal.Signals] = set()
        self._own: set[int] = set()
        self._speaks = False
        self._flags: SharedFlags | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fail now, not at the signal, if nothing can save."""
        self._saver(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning, which registered its handlers before this hook."""
        self._began = self._clock()
        self._speaks = trainer.is_global_zero
        self._flags = SharedFlags(len(SIGNALS) + 1)
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._note) for number in heard}
        if trainer.received_sigterm:
            self._own.add(signal.SIGTERM)
        leave_out_sigterm_broadcast(trainer)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self._own:
            os._exit(INTERRUPTED)
        self._own.add(number)  # before the words, which a second Ctrl-C may interrupt
        if number == signal.SIGINT and self._speaks:
            os.write(2, b"\ninterrupted: the run finishes its step, saves and ends; Ctrl-C again ends it at once\n")

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop after this step if a rank was signaled before the last one; a validation is left to the next launch."""
        assert self._flags is not None
        if trainer.global_step % self.check_every_n_steps:
            return
        mine = [number in self._own for number in SIGNALS]
        *raised, time_is_up = self._flags.exchange([*mine, trainer.is_global_zero and self._time_is_up()])
        received = {number for number, is_raised in zip(SIGNALS, raised, strict=True) if is_raised}
        if not (received or time_is_up) or trainer.global_step >= trainer.max_steps:
            return
        self.received = received
        saver = self._saver(trainer)
        if saver.saved_step != trainer.global_step:
            saver.save(trainer, is_last=True)
        self.preempted = True
        for logger in trainer.loggers:
            if hasattr(logger, "hurry"):
                logger.hurry()
        trainer.should_stop = True
        trainer.limit_val_batches = 0  # stopping early validates otherwise, and the time to stop in is short
        why = "told to stop" if received else f"trainer.max_time={self._max_time} is over"
        log.warning(
            "%s: saved step %d; the same command with resume=auto continues from there", why, trainer.global_step
        )

    def _time_is_up(self) -> bool:
        return self._seconds is not None and self._clock() - self._began >= self._seconds

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        if self._flags is not None:
            self._flags.wait()
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _saver(self, trainer: Any) -> PeriodicCheckpoint:
        savers = [callback for callback in trainer.callbacks if isinstance(callback, PeriodicCheckpoint)]
        if not savers:
            raise ValueError("callbacks.preemption needs callbacks.checkpoint, which saves the state")
        return savers[0]


def hand_over(trainer: L.Trainer, environment: Mapping[str, str] = os.environ) -> None:
    """After a run that was told to stop: have its job queued again, or end the command that was interrupted.

    SIGUSR1 comes from SLURM before the time limit, so the first rank asks for the job to be queued again. SIGUSR2 comes
    from submitit, whose handler does that by itself, so it gets the signal now. SIGTERM is somebody's wish to end.

    Raises:
        KeyboardInterrupt: on the first rank, after Ctrl-C; an error on another rank would make the launcher kill all.
    """
    preemptions = [each for each in trainer.callbacks if isinstance(each, Preemption)]  # type: ignore[attr-defined]
    received = {number for each in preemptions for number in each.received}
    if not received or not trainer.is_global_zero:
        return
    end_wandb_run(seconds=HURRIED_SECONDS)  # the job may be ended while it is queued again
    if signal.SIGUSR2 in received and callable(signal.getsignal(signal.SIGUSR2)):
        signal.raise_signal(signal.SIGUSR2)
    elif signal.SIGUSR1 in received and (job := slurm_job(environment)):
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        log.warning(
            "job %s %s", job, f"cannot be queued again: {done.stderr.strip()}" if done.returncode else "is queued again"
        )
    elif signal.SIGINT in received:
        raise KeyboardInterrupt


def slurm_job(environment: Mapping[str, str]) -> str | None:
    """Return the name that scontrol has for the job of this process, None outside SLURM.

    >>> slurm_job({"SLURM_PROCID": "0", "SLURM_JOB_ID": "12"})
    '12'
    >>> slurm_job({"SLURM_PROCID": "0", "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"})
    '7_2'
    """
    if "SLURM_PROCID" not in environment:
        return None
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID")
