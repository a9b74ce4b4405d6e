"""A rank that dies or hangs ends the whole run within a bounded time, with a message that names it."""

import logging
import os
import signal
import threading
import uuid
from datetime import timedelta
from typing import Any

import lightning as L
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from bert_lightning.distributed.collectives import gather_objects, world_size
from bert_lightning.distributed.heartbeat import FAILED, LOST_A_RANK, Heartbeat, Verdict, this_machine
from bert_lightning.training.step_guard import NotFiniteError
from data_pipeline.processes.machine_faults import TRY_AGAIN, MachineError, machine_fault

log = logging.getLogger(__name__)


class Watchdog(L.Callback):
    """Watch the other ranks from a thread; costs nothing with one process.

    A process that waits in a communication for a rank that never comes cannot be interrupted, so it is ended. So are
    silent ranks on the same machine: they may be stopped, and hold a GPU.

    Args:
        interval_seconds: Seconds between two signs of life of a rank.
        silent_seconds: Seconds without a sign of life after which a rank counts as dead.
        stuck_seconds: Seconds without progress of any rank after which the run counts as stuck.
    """

    def __init__(
        self, interval_seconds: float = 2.0, silent_seconds: float = 60.0, stuck_seconds: float = 1800.0
    ) -> None:
        if not 0 < interval_seconds <= silent_seconds / 4 or stuck_seconds < silent_seconds:
            raise ValueError(
                f"callbacks.watchdog.silent_seconds={silent_seconds} must be at least 4 times "
                f"interval_seconds={interval_seconds}, and stuck_seconds={stuck_seconds} no less than it"
            )
        self._times = interval_seconds, silent_seconds, stuck_seconds
        self._heartbeat: Heartbeat | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start the heartbeat, before the model is built and the checkpoint read."""
        if world_size() == 1 or self._heartbeat is not None:
            return
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # Another connection than that of the process group, which may be waiting in another thread.
        store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))
        attempt = gather_objects(uuid.uuid4().hex)[0]  # torchrun's store outlives a restart
        prefixed = PrefixStore(f"heartbeat/{attempt}", store)
        heartbeat = Heartbeat(prefixed, trainer.global_rank, trainer.world_size, self._end, *self._times)
        heartbeat.start()
        trainer.strategy.barrier()
        heartbeat.watch()
        self._heartbeat = heartbeat

    def _end(self, verdict: Verdict) -> None:
        """End this process and the silent ones beside it."""
        log.error("the run cannot go on, %s; resume=auto continues from the newest checkpoint", verdict)
        for beat in verdict.who:
            if beat.machine == this_machine() and beat.process != os.getpid():
                try:
                    os.kill(beat.process, signal.SIGKILL)
                except OSError:
                    continue
        logging.shutdown()
        os._exit(TRY_AGAIN)

    def _mark(self, position: str) -> None:
        if self._heartbeat is not None:
            self._heartbeat.mark(position)

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that a batch has come."""
        self._mark(f"in step {trainer.global_step + 1}")

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that the step is made."""
        self._mark(f"after step {trainer.global_step}")

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that a batch has come."""
        self._mark(f"validating after step {trainer.global_step}")

    def on_save_checkpoint(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that a checkpoint is being saved."""
        self._mark(f"saving step {trainer.global_step}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the heartbeat."""
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Name the rank that made a communication fail; if it is this one, say what happened."""
        if self._heartbeat is None:
            return
        verdict = None
        if isinstance(exception, RuntimeError):  # torch raises it if a communication fails
            verdict = self._heartbeat.missing()
        if verdict is not None:
            log.error("the run cannot go on, %s; resume=auto continues from the newest checkpoint", verdict)
            if not verdict.is_failure:
                exception.__cause__ = MachineError(f"the run cannot go on, {verdict}")
        fault = machine_fault(exception)
        own = fault or f"{FAILED}{type(exception).__name__}: {exception}"
        self._heartbeat.stop(LOST_A_RANK if verdict else own)
        if isinstance(exception, NotFiniteError):  # of all ranks alike, and a grid goes on with its next point
            return
        leave = threading.Timer(30.0, os._exit, [TRY_AGAIN if fault else 1])  # whatever hangs on the way out
        leave.daemon = True
        leave.start()
