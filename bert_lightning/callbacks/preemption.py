"""Signals and the end of the time: finish the step, agree among the ranks, save, stop, and be queued again.

Lightning's handlers broadcast and save inside the signal handler, which deadlocks with several ranks. These only
set a flag; the collective work is done after a step or a batch of a validation, where every rank is.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from bert_lightning.callbacks.checkpointing import PeriodicCheckpoint
from bert_lightning.distributed.collectives import SharedFlags
from bert_lightning.metrics.wandb_run import HURRIED_SECONDS, end_wandb_run
from bert_lightning.settings.cli import INTERRUPTED
from bert_lightning.settings.config import is_first_process
from bert_lightning.training.stop_file import StopFile
from bert_lightning.training.time_limit import beginning_of_launch, seconds_of
from bert_lightning.training.validation_turns import CutShortError, let_validation_be_cut_short
from data_pipeline.processes.machine_faults import TRY_AGAIN
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

    The job of a sweep is told by a file too, which is as SIGTERM to the first rank.

    A validation is cut short after such a batch, and left to the next launch. `preempted` says whether the run was
    stopped before its end, `received` which signals a rank has got, if only after the last step.

    Args:
        check_every_n_steps: Steps, or batches of a validation, between two agreements; each is one message of a few
            bytes between hosts.
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
        self._stop_file = StopFile(clock)
        self._previous: dict[signal.Signals, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fail now, not at the signal, if nothing can save."""
        self._saver(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning, which registered its handlers before this hook."""
        self._began = beginning_of_launch(self._clock())
        self._speaks = trainer.is_global_zero
        self._flags = SharedFlags(len(SIGNALS) + 1)
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._note) for number in heard}
        if trainer.received_sigterm:
            self._own.add(signal.SIGTERM)
        leave_out_sigterm_broadcast(trainer)
        let_validation_be_cut_short(trainer)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self._own:
            os._exit(INTERRUPTED)
        self._own.add(number)  # before the words, which a second Ctrl-C may interrupt
        if number == signal.SIGINT and self._speaks:
            with suppress(OSError):  # a lost terminal
                os.write(2, b"\ninterrupted: the run finishes its step, saves and ends; Ctrl-C again ends it at once\n")

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop after this step if a rank was signaled before the last one; a validation is left to the next launch."""
        if trainer.global_step % self.check_every_n_steps:
            return
        received, time_is_up = self._exchange(trainer)
        if (received or time_is_up) and trainer.global_step < trainer.max_steps:
            self._stop(trainer, received)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Stop after this batch of a validation; the next launch makes the whole validation."""
        if (batch_idx + 1) % self.check_every_n_steps:
            return
        received, time_is_up = self._exchange(trainer)
        if received or time_is_up:
            self._stop(trainer, received)
            raise CutShortError

    def _exchange(self, trainer: L.Trainer) -> tuple[set[signal.Signals], bool]:
        """Return, the same on all ranks, the signals that one of them has got, and whether the time is over."""
        assert self._flags is not None
        if trainer.is_global_zero and self._stop_file.is_there():
            self._own.add(signal.SIGTERM)
        mine = [number in self._own for number in SIGNALS]
        *raised, time_is_up = self._flags.exchange([*mine, trainer.is_global_zero and self._time_is_up()])
        return {number for number, is_raised in zip(SIGNALS, raised, strict=True) if is_raised}, time_is_up

    def _stop(self, trainer: L.Trainer, received: set[signal.Signals]) -> None:
        """Save, and have the loop end."""
        self.received = received
        saver = self._saver(trainer)
        if not saver.is_on_disk(trainer):
            saver.save(trainer, is_last=True)
        self.preempted = True
        for logger in trainer.loggers:
            if hasattr(logger, "hurry"):
                logger.hurry()
        trainer.should_stop = True
        trainer.limit_val_batches = 0  # stopping early validates otherwise, and the time to stop in is short
        if trainer.is_global_zero:
            why = "told to stop" if received else f"trainer.max_time={self._max_time} is over"
            log.warning(
                "%s: saved step %d; the same command with resume=auto continues from there", why, trainer.global_step
            )

    def _time_is_up(self) -> bool:
        return self._seconds is not None and self._clock() - self._began >= self._seconds

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back; those that came after the last step are known on all ranks."""
        if self._flags is not None:
            if not self.preempted:
                self._exchange(trainer)  # what is sent is read with the next message
                self.received, _ = self._exchange(trainer)
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


def was_signaled(trainer: L.Trainer) -> bool:
    """Return whether a rank was told to stop, if only after the last step: nothing is to follow the run."""
    return any(each.preempted or each.received for each in _preemptions(trainer))


def _preemptions(trainer: L.Trainer) -> list[Preemption]:
    return [each for each in trainer.callbacks if isinstance(each, Preemption)]  # type: ignore[attr-defined]


def hand_over(trainer: L.Trainer, environment: Mapping[str, str] = os.environ) -> None:
    """After a run that was told to stop: have its job queued again, or end the command that was interrupted.

    SIGUSR1 comes from SLURM before the time limit, so the first rank asks for the job to be queued again. SIGUSR2 comes
    from submitit, whose handler does that by itself, so it gets the signal now. SIGTERM is somebody's wish to end; with
    torchrun, it may have come to one node alone, and the others must not report that the job has succeeded.

    Raises:
        KeyboardInterrupt: on the first rank, after Ctrl-C; an error on another rank would make the launcher kill all.
        SystemExit: with `TRY_AGAIN`, under torchrun after SIGTERM to any rank, on the first rank of each node.
    """
    received = {number for each in _preemptions(trainer) for number in each.received}
    if received and trainer.is_global_zero:
        _hand_over_job(received, environment)
    if received == {signal.SIGTERM} and "TORCHELASTIC_RUN_ID" in environment and environment.get("LOCAL_RANK") == "0":
        sys.exit(TRY_AGAIN)


def _hand_over_job(received: set[signal.Signals], environment: Mapping[str, str]) -> None:
    """Tell those who wait for the first rank."""
    end_wandb_run(seconds=HURRIED_SECONDS)  # the job may be ended while it is queued again
    if signal.SIGUSR2 in received and callable(signal.getsignal(signal.SIGUSR2)):
        signal.raise_signal(signal.SIGUSR2)
    elif signal.SIGUSR1 in received and (job := slurm_job(environment)):
        _queue_again(job)
    elif signal.SIGINT in received:
        raise KeyboardInterrupt


@contextmanager
def queued_again_when_warned(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Have the job queued again as soon as SLURM warns of its end by SIGUSR1, where the signal would end the process.

    It is for the parts of a command that are no training, which saves first: there is nothing to save, and the next
    launch makes the part again.

    Args:
        environment: The variables of this process.
    """
    job = slurm_job(environment)
    if job is None or signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL:
        yield
        return

    def queue_again(number: int, frame: FrameType | None) -> None:
        if is_first_process(environment):
            _queue_again(job)

    signal.signal(signal.SIGUSR1, queue_again)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _queue_again(job: str) -> None:
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    log.warning(
        "job %s %s", job, f"cannot be queued again: {done.stderr.strip()}" if done.returncode else "is queued again"
    )


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
