"""The trainer of a run: one epoch without end, everything shown and saved by the callbacks of this package."""

import logging
import warnings
from collections.abc import Callable, Sequence

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from bert_lightning.execution.launch_environment import launch_plugins, trainer_accelerator
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.settings.config import Processes
from bert_lightning.settings.hardware import lightning_precision
from bert_lightning.training.atomic_checkpoints import AtomicCheckpointIO


def make_trainer(
    make: Callable[..., L.Trainer],
    strategy: Strategy,
    processes: Processes,
    precision: str,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    keeps_time: bool,
) -> L.Trainer:
    """Return the trainer.

    Args:
        make: Function that makes a trainer with the options of the settings and those that are given to it.
        strategy: How many processes hold and update one model.
        processes: The processes that train.
        precision: The precision of the computation, not auto.
        callbacks: The callbacks.
        loggers: The loggers.
        keeps_time: Whether a callback ends the run when its time is over; Lightning's way does not save.
    """
    changes = {"max_time": None} if keeps_time else {}
    return make(
        strategy=strategy,
        accelerator=trainer_accelerator(processes),
        devices=processes.devices,
        num_nodes=processes.num_nodes,
        precision=lightning_precision(precision),
        callbacks=list(callbacks),
        logger=list(loggers),
        plugins=launch_plugins() + ([] if isinstance(strategy, FullyShardedStrategy) else [AtomicCheckpointIO()]),
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **changes,
    )


def quieten() -> None:
    """Silence what Lightning says about choices that are made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # It says that a rank has died, and with which status, before it ends the others.
    logging.getLogger("lightning.fabric.strategies.launchers").setLevel(logging.INFO)
    for message in (
        ".*srun.*command is available",
        ".*does not have many workers",
        ".*LeafSpec",
        ".*`isinstance",
        ".*broadcast_buffers",
        ".*smaller than the logging interval",
        ".*sync_dist=True",
        ".*in eval mode at the start of training",  # a frozen encoder
    ):
        warnings.filterwarnings("ignore", message)
