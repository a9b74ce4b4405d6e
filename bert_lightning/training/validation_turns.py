"""When the loop validates, and the pass that a resumed run still owes.

A checkpoint that is due is saved before the validation of its step, so that a crash in the validation does not lose it.
A run that goes on from it makes up for the validation first, and so has the metrics of a run that was never stopped.
The same holds for a checkpoint that is saved in the middle of a validation that is then cut short.
"""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from bert_lightning.metrics.metrics_log import read_rows
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.untrusted.internals import check_internal

check_internal(_TrainingEpochLoop, "restarted_on_train_batch_end", "lightning 2.6.6")
check_internal(_FitLoop, "skip", "lightning 2.6.6")


def validation_follows(trainer: L.Trainer) -> bool:
    """Return whether the loop validates between the step that was just made and the next one.

    A run that ends validates once more, whether all steps are made or a callback such as EarlyStopping has ended it.
    """
    due = trainer.val_check_batch is not None and trainer.global_step % trainer.val_check_batch == 0
    return trainer.enable_validation and (due or trainer.global_step >= trainer.max_steps or trainer.should_stop)


def lacks_validation(folder: RunFolder, step: int) -> bool:
    """Return whether metrics.csv of a run lacks the validation of a step, before the end of which the run was killed.

    A run that keeps no metrics.csv does not say so, and lacks nothing.
    """
    if not folder.metrics.exists():
        return False
    return not any(name.startswith("val/") for name in read_rows(folder.metrics).get(step, {}))


class _BeginsAtItsEnd(_FitLoop):
    """A loop that begins although all steps are made: it makes up for their validation, and ends."""

    @property
    def skip(self) -> bool:
        return False


def begin_at_the_end(trainer: L.Trainer) -> None:
    """Let a run begin that has made all its steps and still owes their validation."""
    loop = _BeginsAtItsEnd(trainer, trainer.min_epochs, trainer.max_epochs)
    loop.epoch_loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop = loop


class CutShortError(Exception):
    """A callback ends a validation, which is owed from then on: nothing of it is measured or logged."""


def let_validation_be_cut_short(trainer: Any) -> None:
    """Have a validation of the training end, without the hooks at its end, when a callback raises CutShortError."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    check_internal(loop, "run", "lightning 2.6.6")
    run = loop.run

    def run_until_cut() -> Any:
        try:
            return run()
        except CutShortError:
            return []

    loop.run = run_until_cut


def end_early_again(trainer: L.Trainer) -> None:
    """Have a run that goes on from the checkpoint of its early end make no step; the callbacks must have their state.

    A process may have been killed between the end and what follows it, such as the scores of a fine-tuning.
    """
    if any(each.stopping_reason is not EarlyStoppingReason.NOT_STOPPED for each in _early(trainer)):
        trainer.should_stop = True


def let_patience_change(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Have EarlyStopping keep its own patience, not that of a checkpoint that is about to be loaded.

    With a larger one a run goes on that a smaller one had ended.
    """
    for each in _early(trainer):
        state = checkpoint.get("callbacks", {}).get(each.state_key)
        if state is None:
            continue
        state["patience"] = each.patience
        is_exhausted = state.get("stopping_reason") == EarlyStoppingReason.PATIENCE_EXHAUSTED.value
        if is_exhausted and state["wait_count"] < each.patience:
            state["stopping_reason"] = EarlyStoppingReason.NOT_STOPPED.value


def _early(trainer: Any) -> list[EarlyStopping]:
    return [each for each in trainer.callbacks if isinstance(each, EarlyStopping)]


def make_up_for_validation(trainer: Any) -> None:
    """Validate before the first step of a resumed run if its checkpoint was saved before a validation.

    The callbacks must have begun, so that they see the validation as any other.
    """
    loop = trainer.fit_loop.epoch_loop
    batches = loop.val_loop.batch_progress.current
    is_owed = loop.restarted_on_train_batch_end or batches.completed < batches.processed  # cut short in a batch
    if not (trainer.global_step and is_owed and validation_follows(trainer)):
        return
    trainer.validating = True
    loop.val_loop.restarting = False  # it would leave out the batches that an earlier validation had
    loop.val_loop.run()
    trainer.training = True
