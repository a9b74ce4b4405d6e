"""Folders of torch.distributed.checkpoint, into which every rank writes its shard, and reading them back.

`plain_checkpoint` reads them without running what is in them.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict as dcp_state
from torch.distributed.checkpoint import state_dict_loader
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.optim import Optimizer

from bert_lightning.checkpoints.integrity import note_metadata
from bert_lightning.checkpoints.plain_checkpoint import IntoNothing, IntoState, PlainReader
from bert_lightning.checkpoints.plain_pickle import load_plain, reading
from bert_lightning.distributed.collectives import any_rank
from bert_lightning.settings.run_folder import META, partial_path
from data_pipeline.processes.machine_faults import MachineError
from data_pipeline.untrusted.internals import check_internal

log = logging.getLogger(__name__)
check_internal(state_dict_loader, "_load_state_dict", "torch 2.11 and 2.13")  # `load` fills what is there already


class FolderWriter:
    """Write folders under another name; a folder gets its name when every rank is done, so it is whole.

    Args:
        asynchronous: Copy the state into memory and write it while training goes on.
    """

    def __init__(self, asynchronous: bool = False) -> None:
        self._asynchronous = asynchronous
        self._group: dist.ProcessGroup | None = None
        self._pending: Future[Any] | None = None

    def save(self, tensors: dict[str, Any], meta: Mapping[str, Any], path: Path) -> None:
        """Save the state of all ranks; all must call it.

        Raises:
            OSError: on every rank if one could not write; an asynchronous save raises it in `finish`.
        """
        try:
            self.finish()
        except OSError as error:
            log.warning("%s", error)
        partial = partial_path(path)
        self._agree(_write_meta(meta, partial) if dist.get_rank() == 0 else None)
        if self._asynchronous:
            written: Any = async_save(tensors, checkpoint_id=partial, process_group=self._cpu_group())
            self._pending = _publishing(written, path)
            return
        saved: Future[Any] = Future()
        try:
            saved.set_result(save(tensors, checkpoint_id=partial))
        except (CheckpointException, OSError) as error:
            saved.set_exception(error)
        self._pending = _publishing(saved, path)
        self.finish()

    def finish(self) -> None:
        """Wait for the save that is under way; all ranks must call it.

        Raises:
            OSError: on every rank if the save failed on one.
        """
        if self._pending is not None:
            self._agree(self.wait())

    def wait(self) -> BaseException | None:
        """Wait for this rank's share of the save that is under way, and return what went wrong."""
        pending, self._pending = self._pending, None
        return None if pending is None else pending.exception()

    def _agree(self, problem: BaseException | None) -> None:
        """Raise an OSError on every rank if one has a problem."""
        if any_rank(problem is not None, torch.device("cpu"), self._cpu_group()):
            raise MachineError(f"a checkpoint could not be saved: {_reason(problem)}")

    def _cpu_group(self) -> dist.ProcessGroup:
        """Return a group for messages between hosts."""
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        return self._group


def _reason(problem: BaseException | None) -> str:
    if isinstance(problem, CheckpointException):  # one line of what all ranks met, instead of their tracebacks
        return "; ".join(sorted({str(failure[0]) for failure in problem.failures.values()}))
    return str(problem) if problem else "another rank could not write its shard"


def _write_meta(meta: Mapping[str, Any], partial: Path) -> Exception | None:
    """Begin a folder with what is not sharded; return what went wrong."""
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        with (partial / META).open("wb") as file:
            torch.save(dict(meta), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        return error
    return None


def _publishing(saved: Future[Any], path: Path) -> Future[Any]:
    """Return a future that is done once the folder has its name, or is gone because a rank could not write.

    The first rank writes the metadata when all others have written their shards, so it may give the name alone.
    """
    published: Future[Any] = Future()
    partial = partial_path(path)
    is_first = dist.get_rank() == 0

    def publish(done: Future[Any]) -> None:
        error = done.exception()
        try:
            if is_first and error is not None:
                shutil.rmtree(partial, ignore_errors=True)
            elif is_first:
                note_metadata(partial)
                if path.is_dir():  # an earlier part of the run made the same step; older checkpoints are still there
                    shutil.rmtree(path)
                partial.rename(path)
        except OSError as failure:
            error = failure
        if error is None:
            published.set_result(None)
        else:
            published.set_exception(error)

    saved.add_done_callback(publish)
    return published


@contextmanager
def _first_failure(folder: Path) -> Iterator[None]:
    """Raise what one rank met as a ValueError instead of the tracebacks of all, which are not even an Exception."""
    try:
        yield
    except CheckpointException as error:
        with reading(folder):
            raise next(iter(error.failures.values()))[0] from None


def read_meta(folder: Path) -> dict[str, Any]:
    """Return what is not sharded."""
    return load_plain(folder / META)


def read_folder(folder: Path, with_optimizer: bool = True) -> dict[str, Any]:
    """Return a folder as the dictionary that a checkpoint file of the same run would hold.

    Needs no process group and holds the whole model in memory.
    """
    tensors: dict[str, Any] = {}
    planner = IntoNothing(keys=None if with_optimizer else {"state_dict"})
    with _first_failure(folder):
        state_dict_loader._load_state_dict(tensors, PlainReader(folder), planner=planner, no_dist=True)
    if "state_dict" not in tensors:
        raise ValueError(f"checkpoint={folder} holds no weights")
    content = read_meta(folder) | {"state_dict": tensors["state_dict"]}
    if with_optimizer:
        state = tensors["optimizer_0"]
        names = [name for group in state["param_groups"] for name in group["params"]]
        content["optimizer_states"] = [renumber(state, {name: number for number, name in enumerate(names)})]
    return content


def load_folder(folder: Path, model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Load a folder into a sharded model and its optimizers; all ranks must call it.

    Returns:
        What is not sharded.
    """
    weights = {"state_dict": dcp_state.get_model_state_dict(model)}
    with _first_failure(folder):
        load(weights, storage_reader=PlainReader(folder), planner=IntoState())
    dcp_state.set_model_state_dict(model, weights["state_dict"])
    for number, optimizer in enumerate(optimizers):
        moments = {f"optimizer_{number}": dcp_state.get_optimizer_state_dict(model, optimizer)}
        with _first_failure(folder):
            load(moments, storage_reader=PlainReader(folder), planner=IntoState())
        dcp_state.set_optimizer_state_dict(model, optimizer, moments[f"optimizer_{number}"])
    return read_meta(folder)


def load_file(file: Path, model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Load a checkpoint file of another strategy into a sharded model and its optimizers; all ranks must call it.

    Returns:
        What is left in it.
    """
    content = load_plain(file, mmap=True)
    options = dcp_state.StateDictOptions(full_state_dict=True)
    dcp_state.set_model_state_dict(model, content.pop("state_dict"), options=options)
    for optimizer, state in zip(optimizers, content.pop("optimizer_states"), strict=True):
        named = renumber(state, parameter_names(model, optimizer))
        dcp_state.set_optimizer_state_dict(model, optimizer, named, options=options)
    return content


def parameter_names(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's parameters in the order in which its state numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def renumber(state: Mapping[str, Any], keys: Mapping[Any, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return an optimizer state with other keys for the parameters: names for numbers, or numbers for names."""
    groups = [group | {"params": [keys[key] for key in group["params"]]} for group in state["param_groups"]]
    return {"state": {keys[key]: value for key, value in state["state"].items()}, "param_groups": groups}
