"""bert-pretrain: train an objective on a prepared corpus, from the start or from the newest whole checkpoint."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from omegaconf import DictConfig, OmegaConf

from bert_lightning.callbacks.checkpointing import AtomicCheckpointIO
from bert_lightning.callbacks.preemption import Preemption, hand_over
from bert_lightning.checkpoints.checkpoint import checkpoint_payload, is_whole, load_pretrained
from bert_lightning.distributed.collectives import shut_down
from bert_lightning.distributed.launcher import watch_launcher
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import check_float8, to_float8
from bert_lightning.execution.launch_environment import launch_plugins, trainer_accelerator
from bert_lightning.execution.sharding import blocks_of, recompute_activations
from bert_lightning.execution.strategies import FullyShardedStrategy, ranks_of_one_copy
from bert_lightning.metrics.flops import parameter_count
from bert_lightning.models.attention import PackedAttention, choose_attention
from bert_lightning.settings.changed_settings import Change, changed_settings
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import (
    Processes,
    is_first_process,
    lightning_precision,
    prepared_folder,
    restarts_would_fail,
    unused_gpus,
)
from bert_lightning.settings.phase_settings import FROM_DATA, build_phases
from bert_lightning.settings.run_facts import run_facts
from bert_lightning.settings.run_folder import RunFolder, step_of, write_whole
from bert_lightning.settings.run_plan import RunPlan, plan_run
from bert_lightning.settings.setting_types import check_types
from bert_lightning.sweeps.outcomes import results
from bert_lightning.training.datamodules import PretrainingData
from bert_lightning.training.going_back import set_newer_aside
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.starting_point import (
    StartingPoint,
    check_resume,
    find_checkpoint,
    say_finished,
    start_from,
)
from bert_lightning.training.step_guard import NotFiniteError
from data_pipeline.streams.phases import Phases
from data_pipeline.tokenizers.tokenizer import load_tokenizer

log = logging.getLogger("bert_lightning.pretrain")


def pretrain(cfg: DictConfig) -> L.Trainer | None:
    """Train the configured objective and return the finished trainer, None if the run had been finished before.

    Args:
        cfg: The settings; they are not changed.

    Raises:
        ValueError: for settings that cannot work, before any process is started or any file is written.
    """
    _quieten()
    watch_launcher()
    check_types(cfg)
    strategy = instantiate(cfg.strategy)
    plan = plan_run(cfg, isinstance(strategy, ParallelStrategy))
    if isinstance(strategy, FullyShardedStrategy):
        check_sharding(strategy, plan.processes, plan.precision, instantiate(plan.settings.compile))
    _attention(plan)
    checkpoint = find_checkpoint(plan.settings.resume, plan.folder)
    data = build_data(plan)
    module = build_module(plan, strategy)
    data.check_targets(module.objective)
    max_steps = plan.settings.trainer.max_steps
    start = check_resume(checkpoint, module.objective, data, max_steps) if checkpoint is not None else None
    changes = changed_settings(start.settings, plan.settings, f"checkpoint={checkpoint}") if start is not None else []
    if start is not None and start.step == max_steps:
        say_finished(start, plan.folder, max_steps, changes)
        return None
    trainer = build_trainer(plan, strategy)
    with _started(plan, start, changes, parameter_count(module)) if is_first_process() else nullcontext():
        try:
            for logger in trainer.loggers:
                logger.log_hyperparams(run_facts(plan.settings, prepared_folder(plan.settings.data).manifest))
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except NotFiniteError as error:
            raise ValueError(f"{error}: {advice(error, plan.folder, data.phases)}") from error
    shut_down()
    hand_over(trainer)
    return trainer


def check_sharding(
    strategy: FullyShardedStrategy, processes: Processes, precision: str, compilation: Compilation
) -> None:
    """Raise a ValueError if the settings of strategy=fsdp do not fit processes, precision or compilation."""
    if compilation.scope == "model":
        raise ValueError("compile.scope=model is one graph, but strategy=fsdp gathers layer by layer; take layers")
    if compilation.records("cuda" if processes.accelerator == "gpu" else "cpu"):
        raise ValueError(
            f"compile.mode={compilation.mode} records CUDA graphs of parameters that stay where they are, but "
            "strategy=fsdp gathers them anew for every pass; take compile.mode=default"
        )
    if processes.size == 1:
        raise ValueError("strategy=fsdp splits the model over processes, but there is one; take strategy=single")
    ranks_of_one_copy(strategy.shard_size, processes.devices, processes.num_nodes)
    if strategy.options.param_dtype == torch.bfloat16 and lightning_precision(precision) != "bf16-mixed":
        raise ValueError(f"strategy.param_dtype=bfloat16 needs trainer.precision=bf16-mixed, not {precision}")


def build_data(plan: RunPlan) -> PretrainingData:
    """Build the streams of the prepared data; the first process makes what the others then read."""
    settings = plan.settings
    phases = build_phases(settings)
    data = PretrainingData(
        pairs=instantiate(settings.pairs),
        phases=phases,
        validation=instantiate(settings.validation),
        seed=settings.seed,
        num_shapes=instantiate(settings.compile).num_shapes(plan.device_type, len(phases)),
        **{name: value for name, value in settings.data.items() if name not in ("quarantine", *FROM_DATA)},
    )
    if is_first_process():
        data.prepare_data()
    if plan.precision == "fp8":
        check_float8(plan.processes.accelerator, data.token_multiple())
    return data


def build_module(plan: RunPlan, strategy: Strategy) -> TrainingModule:
    """Build the objective, with the same weights on every rank, and what trains it.

    If the model is sharded, only the first rank makes weights; the others get theirs from it.
    """
    settings = plan.settings
    is_sharded = isinstance(strategy, FullyShardedStrategy)
    on_meta = is_sharded and not is_first_process()
    L.seed_everything(settings.seed, verbose=False)
    if plan.device_type == "cuda":
        torch.set_float32_matmul_precision(settings.float32_matmul_precision)
    model_config = instantiate(settings.model)
    schedule = instantiate(settings.schedule)
    schedule(0)  # a warm-up that does not fit says so now, and so does an optimizer's setting
    instantiate(settings.optimizer)([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    attention = _attention(plan)
    tokenizer_dir = prepared_folder(settings.data).tokenizer_dir
    with torch.device("meta" if on_meta else "cpu"):
        objective = instantiate(settings.objective)(config=model_config, attention=attention)
    if settings.init_from and not on_meta:
        start_from(objective, load_pretrained(settings.init_from), load_tokenizer(tokenizer_dir))
    if plan.precision == "fp8":
        to_float8(objective)
    compilation: Compilation = instantiate(settings.compile)
    compilation(objective, plan.device_type)
    if settings.activation_checkpointing:
        recompute_activations(objective)
    if is_sharded:
        blocks_of(objective)  # an objective that cannot be sharded says so now
    return TrainingModule(
        objective,
        instantiate(settings.optimizer),
        schedule,
        settings.seed,
        settings.trainer.max_steps,
        settings.trainer.log_every_n_steps,
        settings.gradient_clip_val,
        settings.max_skipped_steps,
        checkpoint_payload(model_config, tokenizer_dir, _plain(settings)),
        keeps_gradients=compilation.records(plan.device_type),
    )


def _attention(plan: RunPlan) -> PackedAttention:
    """Return the attention of a run; ValueError if its device does not take the head dimension of the model."""
    model = instantiate(plan.settings.model)
    head_dim = model.hidden_size // model.num_attention_heads
    is_half_precision = plan.precision != "32-true"
    return choose_attention(plan.device_type, model.attention_probs_dropout_prob, is_half_precision, head_dim)


def build_trainer(plan: RunPlan, strategy: Strategy) -> L.Trainer:
    """Build the trainer: one epoch without end, everything shown and saved by the callbacks of this package."""
    callbacks = _instances(plan.settings.callbacks)
    keeps_time = any(isinstance(callback, Preemption) for callback in callbacks)  # Lightning's way does not save
    return instantiate(
        plan.settings.trainer,
        strategy=strategy,
        accelerator=trainer_accelerator(plan.processes),
        devices=plan.processes.devices,
        num_nodes=plan.processes.num_nodes,
        precision=lightning_precision(plan.precision),
        callbacks=callbacks,
        max_time=None if keeps_time else plan.settings.trainer.max_time,
        logger=_instances(plan.settings.logger),
        plugins=launch_plugins() + ([] if isinstance(strategy, FullyShardedStrategy) else [AtomicCheckpointIO()]),
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _instances(group: DictConfig) -> list[Any]:
    return [each for each in instantiate(group).values() if each is not None]  # null leaves one out


@contextmanager
def _started(
    plan: RunPlan, start: StartingPoint | None, changes: Sequence[Change], num_parameters: int
) -> Iterator[None]:
    """Hold the folder of the run, set aside what is newer, write the settings, and say what is about to happen."""
    settings, folder = plan.settings, plan.folder
    checkpoint = start.checkpoint if start is not None else None
    with folder.locked() as has_waited:
        if has_waited and find_checkpoint(settings.resume, folder) != checkpoint:
            raise ValueError(f"another run has meanwhile gone on in {folder.path}; give the same command again")
        if restarts_would_fail():
            log.warning(
                "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or its restarts may not find each other"
            )
        if unused := unused_gpus(plan.processes, torch.cuda.device_count()):
            log.warning("%s %s", settings.run_name, unused)
        with folder.logged("bert_lightning"):
            set_newer_aside(folder, start, settings.resume)
            write_whole(folder.config, OmegaConf.to_yaml(settings, resolve=True))
            log.info(
                "%s: %.1f M parameters, %d x %s, %s, %s, %s",
                settings.run_name,
                num_parameters / 1e6,
                plan.processes.size,
                plan.processes.accelerator,
                plan.precision,
                plan.steps_in_words,
                f"continuing from {checkpoint}" if checkpoint else "from the start",
            )
            for change in changes:
                log.info("%s", change)
            yield


def advice(error: NotFiniteError, folder: RunFolder, phases: Phases) -> str:
    """Return which examples the steps were made of, the last checkpoint before them, and what may help."""
    first, last = phases.samples_of(error.first_step - 1), phases.samples_of(error.last_step) - 1
    before = [path for path in folder.saved() if step_of(path) < error.first_step]
    good = next((path for path in reversed(before) if is_whole(path)), None)
    return (
        f"examples {first} to {last} of the stream. The last good checkpoint is {good or 'none'}. Lower "
        "optimizer.lr or gradient_clip_val, or lengthen schedule.warmup_steps, and continue with resume=<checkpoint>"
    )


def _plain(settings: DictConfig) -> Any:
    """Return settings as plain containers, all of them resolved."""
    return OmegaConf.to_container(settings, resolve=True)


def _quieten() -> None:
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
    ):
        warnings.filterwarnings("ignore", message)


def last_loss(cfg: DictConfig) -> float | None:
    """Train and return the last val/loss, which sweepers minimize; None without a held-out split."""
    pretrain(cfg)
    return results(RunFolder(cfg.run_dir).path).last_loss


main = entry_point("pretrain", last_loss)

if __name__ == "__main__":
    main()
