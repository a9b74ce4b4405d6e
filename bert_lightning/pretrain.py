"""bert-pretrain: train an objective on a prepared corpus, from the start or from the newest whole checkpoint."""

import logging
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from omegaconf import DictConfig, OmegaConf

from bert_lightning.callbacks.checkpointing import AtomicCheckpointIO
from bert_lightning.callbacks.preemption import hand_over
from bert_lightning.checkpoints.checkpoint import (
    CHECKPOINTS,
    checkpoint_payload,
    checkpoints_of,
    is_whole,
    load_pretrained,
    step_of,
)
from bert_lightning.checkpoints.run_lock import sole_run
from bert_lightning.distributed.collectives import shut_down
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import check_float8, to_float8
from bert_lightning.execution.sharding import blocks_of, recompute_activations
from bert_lightning.execution.strategies import FullyShardedStrategy, ranks_of_one_copy
from bert_lightning.metrics.flops import parameter_count
from bert_lightning.models.attention import choose_attention
from bert_lightning.models.encoder import EncoderConfig
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import (
    World,
    check_numbers,
    describe_world,
    is_first_process,
    lightning_precision,
    prepared_folder,
    resolve_precision,
    restarts_would_fail,
    unused_gpus,
    validate,
)
from bert_lightning.settings.setting_types import check_types
from bert_lightning.training.datamodules import PretrainingData
from bert_lightning.training.modules import PretrainingModule
from bert_lightning.training.starting_point import check_resume, find_checkpoint, start_from
from bert_lightning.training.step_guard import NotFiniteError
from data_pipeline.tokenizers.tokenizer import load_tokenizer

log = logging.getLogger("bert_lightning.pretrain")


def pretrain(cfg: DictConfig) -> L.Trainer:
    """Train the configured objective and return the finished trainer.

    Raises:
        ValueError: for settings that cannot work, before any process is started or any file is written.
    """
    _quieten()
    check_types(cfg)
    check_numbers(cfg.data, cfg.seed)
    strategy = instantiate(cfg.strategy)
    world = describe_world(cfg.trainer, isinstance(strategy, ParallelStrategy))
    cfg.model.vocab_size = prepared_folder(cfg.data).manifest.vocab_size
    validate(cfg, world)
    choose_attention(*attention_facts(cfg, world))
    compilation: Compilation = instantiate(cfg.compile)
    is_sharded = isinstance(strategy, FullyShardedStrategy)
    if is_sharded:
        check_sharding(strategy, world, resolve_precision(cfg.trainer.precision, world.accelerator), compilation)
    checkpoint = find_checkpoint(cfg.resume, Path(cfg.run_dir))
    data = PretrainingData(
        pairs=instantiate(cfg.pairs),
        masking=instantiate(cfg.masking),
        max_steps=cfg.trainer.max_steps,
        seed=cfg.seed,
        num_shapes=compilation.num_shapes(device_type(world)),
        **cfg.data,
    )
    if is_first_process():
        data.prepare_data()
    if cfg.trainer.precision == "fp8":
        check_float8(world.accelerator, data.token_multiple())
    if not data.has_validation:
        cfg.trainer.limit_val_batches = 0
    module = build_module(cfg, world, on_meta=is_sharded and not is_first_process())
    if is_sharded:
        blocks_of(module.objective)
    if checkpoint is not None:
        check_resume(checkpoint, module.objective.encoder.config, data, cfg.trainer.max_steps)
    trainer = build_trainer(cfg, strategy, world)
    with sole_run(Path(cfg.run_dir)) if is_first_process() else nullcontext(False) as has_waited:
        if has_waited and find_checkpoint(cfg.resume, Path(cfg.run_dir)) != checkpoint:
            raise ValueError(f"another run has meanwhile gone on in {cfg.run_dir}; give the same command again")
        _start_run(cfg, module, world, checkpoint)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except NotFiniteError as error:
            raise ValueError(f"{error}: {advice(error, Path(cfg.run_dir), cfg.data.global_batch_size)}") from error
    shut_down()
    hand_over(trainer)
    return trainer


def advice(error: NotFiniteError, run_dir: Path, global_batch_size: int) -> str:
    """Return which examples the steps were made of, the last checkpoint before them, and what may help."""
    first, last = (error.first_step - 1) * global_batch_size, error.last_step * global_batch_size - 1
    whole = [path for path in checkpoints_of(run_dir / CHECKPOINTS) if is_whole(path)]
    good = [path for path in whole if step_of(path) < error.first_step]
    return (
        f"examples {first} to {last} of the stream. The last good checkpoint is {good[-1] if good else 'none'}. Lower "
        "optimizer.lr or gradient_clip_val, or lengthen schedule.warmup_steps, and continue with resume=<checkpoint>"
    )


def device_type(world: World) -> str:
    """Return torch's name of the kind of device that a run trains on."""
    return "cuda" if world.accelerator == "gpu" else "cpu"


def attention_facts(cfg: DictConfig, world: World) -> tuple[str, float, bool, int]:
    """Return what `choose_attention` has to know about a run."""
    model: EncoderConfig = instantiate(cfg.model)
    is_half_precision = resolve_precision(cfg.trainer.precision, world.accelerator) != "32-true"
    head_dim = model.hidden_size // model.num_attention_heads
    return device_type(world), model.attention_probs_dropout_prob, is_half_precision, head_dim


def check_sharding(strategy: FullyShardedStrategy, world: World, precision: str, compilation: Compilation) -> None:
    """Raise a ValueError where the settings of strategy=fsdp do not fit processes, precision or compilation."""
    if compilation.scope == "model":
        raise ValueError("compile.scope=model is one graph, but strategy=fsdp gathers layer by layer; take layers")
    if compilation.records(device_type(world)):
        raise ValueError(
            f"compile.mode={compilation.mode} records CUDA graphs of parameters that stay where they are, but "
            "strategy=fsdp gathers them anew for every pass; take compile.mode=default"
        )
    if world.size == 1:
        raise ValueError("strategy=fsdp splits the model over processes, but there is one; take strategy=single")
    ranks_of_one_copy(strategy.shard_size, world.devices, world.num_nodes)
    if strategy.options.param_dtype == torch.bfloat16 and lightning_precision(precision) != "bf16-mixed":
        raise ValueError(f"strategy.param_dtype=bfloat16 needs trainer.precision=bf16-mixed, not {precision}")


def build_module(cfg: DictConfig, world: World, on_meta: bool = False) -> PretrainingModule:
    """Build the objective with its own seed, so that all ranks begin with the same weights, and what trains it.

    Args:
        cfg: The settings.
        world: The processes.
        on_meta: Leave the weights out; the first rank's are taken when the model is sharded.
    """
    L.seed_everything(cfg.seed, verbose=False)
    if world.accelerator == "gpu":
        torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    model_config = instantiate(cfg.model)
    schedule = instantiate(cfg.schedule)
    schedule(0)  # a warm-up that does not fit says so now, and so does an optimizer's setting
    instantiate(cfg.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    attention = choose_attention(*attention_facts(cfg, world))
    tokenizer_dir = prepared_folder(cfg.data).tokenizer_dir
    with torch.device("meta" if on_meta else "cpu"):
        objective = instantiate(cfg.objective)(config=model_config, attention=attention)
    if cfg.init_from and not on_meta:
        start_from(objective, load_pretrained(cfg.init_from), load_tokenizer(tokenizer_dir))
    if cfg.trainer.precision == "fp8":
        to_float8(objective)
    compilation: Compilation = instantiate(cfg.compile)
    compilation(objective, device_type(world))
    if cfg.activation_checkpointing:
        recompute_activations(objective)
    return PretrainingModule(
        objective,
        instantiate(cfg.optimizer),
        schedule,
        cfg.seed,
        cfg.trainer.max_steps,
        cfg.trainer.log_every_n_steps,
        cfg.gradient_clip_val,
        cfg.max_skipped_steps,
        checkpoint_payload(model_config, tokenizer_dir, settings),
        keeps_gradients=compilation.records(device_type(world)),
    )


def build_trainer(cfg: DictConfig, strategy: Strategy, world: World) -> L.Trainer:
    """Build the trainer: one epoch without end, everything shown and saved by our own callbacks."""
    is_sharded = isinstance(strategy, FullyShardedStrategy)
    callbacks = list(instantiate(cfg.callbacks).values())
    return instantiate(
        cfg.trainer,
        strategy=strategy,
        accelerator=world.accelerator,
        devices=world.devices,
        num_nodes=world.num_nodes,
        precision=lightning_precision(resolve_precision(cfg.trainer.precision, world.accelerator)),
        callbacks=callbacks,
        logger=list(instantiate(cfg.logger).values()),
        plugins=[] if is_sharded else [AtomicCheckpointIO()],
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _start_run(cfg: DictConfig, module: PretrainingModule, world: World, checkpoint: Path | None) -> None:
    """Write the resolved config into the folder of the run and say what is about to happen."""
    if not is_first_process():
        return
    if restarts_would_fail():
        log.warning("set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or its restarts may not find each other")
    if unused := unused_gpus(world, torch.cuda.device_count()):
        log.warning("%s %s", cfg.run_name, unused)
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    handler = logging.FileHandler(run_dir / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("bert_lightning").addHandler(handler)
    log.info(
        "%s: %.1f M parameters, %d x %s, %s, %d steps of %d examples, %s",
        cfg.run_name,
        parameter_count(module) / 1e6,
        world.size,
        world.accelerator,
        resolve_precision(cfg.trainer.precision, world.accelerator),
        cfg.trainer.max_steps,
        cfg.data.global_batch_size,
        f"continuing from {checkpoint}" if checkpoint else "from the start",
    )


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
    ):
        warnings.filterwarnings("ignore", message)


main = entry_point("pretrain", pretrain)

if __name__ == "__main__":
    main()
