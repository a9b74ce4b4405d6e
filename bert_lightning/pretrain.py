"""bert-pretrain: train an objective on a prepared corpus, from the start or from the newest whole checkpoint."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import logging
from functools import partial
from typing import Any

import lightning as L
import torch
from hydra.utils import get_object, instantiate
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from omegaconf import DictConfig, OmegaConf

from bert_lightning.callbacks.preemption import Preemption, hand_over, queued_again_when_warned
from bert_lightning.checkpoints.checkpoint import Pretrained, checkpoint_payload, load_pretrained
from bert_lightning.checkpoints.next_commands import after_training
from bert_lightning.distributed.collectives import shut_down
from bert_lightning.distributed.launcher import watch_launcher
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import check_float8, to_float8
from bert_lightning.execution.sharding import recompute_activations, units_of
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.execution.strategy_checks import check_sharding
from bert_lightning.metrics.flops import parameter_count
from bert_lightning.models.attention import PackedAttention, attention_of
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.entity_vectors import EntityVectors
from bert_lightning.objectives.objective import Objective
from bert_lightning.objectives.teacher import Teacher
from bert_lightning.settings.changed_settings import changed_settings
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import (
    is_first_process,
    prepared_folder,
)
from bert_lightning.settings.phase_settings import FROM_DATA, build_phases
from bert_lightning.settings.progress_bars import say_end
from bert_lightning.settings.run_facts import corpus_facts, run_facts
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.run_plan import RunPlan, plan_run
from bert_lightning.settings.setting_types import OURS, check_types
from bert_lightning.sweeps.folder_kinds import RUN, check_kind
from bert_lightning.sweeps.outcomes import results
from bert_lightning.training.datamodules import PretrainingData
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.preempted_run import was_preempted
from bert_lightning.training.started_run import advice, started, train
from bert_lightning.training.starting_point import (
    StartingPoint,
    check_resume,
    find_checkpoint,
    has_ended,
    say_finished,
    start_from,
)
from bert_lightning.training.step_guard import NotFiniteError
from bert_lightning.training.teachers import load_teacher
from bert_lightning.training.trainers import make_trainer, quieten
from data_pipeline.knowledge.entity_table import read_entity_table
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.tokenizers.tokenizer_files import read_tokenizer_files

log = logging.getLogger("bert_lightning.pretrain")


def pretrain(cfg: DictConfig) -> L.Trainer | None:
    """Train the configured objective and return the finished trainer, None if the run had been finished before.

    Args:
        cfg: The settings; they are not changed.

    Raises:
        ValueError: for settings that cannot work, before any process is started or any file is written.
    """
    with queued_again_when_warned():  # as a decorator it could not be pickled for a job of submitit
        return _pretrain(cfg)


def _pretrain(cfg: DictConfig) -> L.Trainer | None:
    quieten()
    watch_launcher()
    check_types(cfg)
    strategy = instantiate(cfg.strategy)
    plan = plan_run(cfg, isinstance(strategy, ParallelStrategy))
    if isinstance(strategy, FullyShardedStrategy):
        check_sharding(strategy, plan.processes, plan.precision, instantiate(plan.settings.compile))
    if is_first_process():
        check_kind(plan.folder.path, plan.settings.run_name, RUN)
    checkpoint = find_checkpoint(plan.settings.resume, plan.folder)
    data = build_data(plan)
    module = build_module(plan, strategy, is_resumed=checkpoint is not None)
    data.check_targets(module.objective)
    max_steps = plan.settings.trainer.max_steps
    start = check_resume(checkpoint, module.objective, data, max_steps) if checkpoint is not None else None
    changes = changed_settings(start.settings, plan.settings, f"checkpoint={checkpoint}") if start is not None else []
    if start is not None and has_ended(start, plan.folder, max_steps):
        say_finished(start, plan.folder, max_steps, changes)
        return None
    trainer = build_trainer(plan, strategy)
    said = [_announcement(plan, start, parameter_count(module)), *map(str, changes)]
    settings_text = OmegaConf.to_yaml(plan.settings, resolve=True)
    with started(plan.folder, start, plan.settings.resume, settings_text, plan.processes, said):
        try:
            for logger in trainer.loggers:
                logger.log_hyperparams(run_facts(plan.settings, prepared_folder(plan.settings.data).manifest))
            train(trainer, module, data, start, plan.folder)
        except NotFiniteError as error:
            raise ValueError(f"{error}: {advice(error, plan.folder, data)}") from error
    shut_down()
    if was_preempted(trainer):
        hand_over(trainer)
    elif trainer.is_global_zero and trainer.global_step >= max_steps:
        _say_end(plan.folder, module.objective)
    return trainer


def _say_end(folder: RunFolder, objective: Objective) -> None:
    """Print where everything of a finished run is, and what to do with it."""
    reports = [("report", folder.report)] if folder.report.exists() else []
    checkpoints = [("checkpoint", path) for path in folder.saved()[-1:]]
    model = Pretrained(objective.main_encoder().config, objective.state_dict(), tokenizer_files={})
    say_end([("run", folder.path), *checkpoints, *reports], after_training(model, folder.path) if checkpoints else [])


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
        entities=_reads_entities(settings),
        **{name: value for name, value in settings.data.items() if name not in ("quarantine", *FROM_DATA)},
    )
    if is_first_process():
        data.prepare_data()
    if plan.precision == "fp8":
        check_float8(plan.processes.accelerator, data.token_multiple())
    return data


def build_module(plan: RunPlan, strategy: Strategy, is_resumed: bool) -> TrainingModule:
    """Build the objective, with the same weights on every rank, and what trains it.

    If the model is sharded, only the first rank makes weights; the others get theirs from it. A run that is resumed
    gets those of its checkpoint, so it does without the model of `init_from`, which may be gone by then.
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
    attention = _attention(plan, model_config)
    folder = prepared_folder(settings.data)
    tokenizer_dir = folder.tokenizer_dir
    parts: dict[str, Any] = {**_read_beside_text(plan, folder)}
    if "generator_size" in settings.objective:
        parts["generator_attention"] = partial(_attention, plan)
    with torch.device("meta" if on_meta else "cpu"):
        objective = instantiate(settings.objective)(config=model_config, attention=attention, **parts)
    if settings.init_from and not is_resumed and not on_meta:
        start_from(objective, load_pretrained(settings.init_from), load_tokenizer(tokenizer_dir))
    if plan.precision == "fp8":
        to_float8(objective)
    compilation: Compilation = instantiate(settings.compile)
    _check_shapes(objective, compilation, plan)
    for model in (objective, *objective.frozen()):
        compilation(model, plan.device_type)
    if settings.activation_checkpointing:
        recompute_activations(objective)
    if is_sharded:
        units_of(objective)  # an objective that cannot be sharded says so now
    return TrainingModule(
        objective,
        instantiate(settings.optimizer),
        schedule,
        seed=settings.seed,
        max_steps=settings.trainer.max_steps,
        log_every_n_steps=settings.trainer.log_every_n_steps,
        gradient_clip_val=settings.gradient_clip_val,
        max_skipped_steps=settings.max_skipped_steps,
        payload=checkpoint_payload(
            model_config, read_tokenizer_files(tokenizer_dir), _plain(settings), corpus=corpus_facts(folder.manifest)
        ),
        keeps_gradients=compilation.records(plan.device_type),
    )


def _check_shapes(objective: Objective, compilation: Compilation, plan: RunPlan) -> None:
    """Raise a ValueError if kernels take few numbers of tokens, but the layers run on any."""
    if not objective.keeps_shapes and compilation.num_shapes(plan.device_type) is not None:
        raise ValueError(
            f"compile.dynamic=false makes one graph for each shape, but with objective={objective.name} most batches "
            "have another one; take compile.dynamic=true"
        )
    if not objective.keeps_shapes and plan.precision == "fp8":
        raise ValueError(
            f"trainer.precision=fp8 takes sizes of a multiple of 16, but with objective={objective.name} layers run on "
            "any number of tokens; take bf16-mixed"
        )


def _attention(plan: RunPlan, model: EncoderConfig) -> PackedAttention:
    """Return the attention of a model on the device of a run."""
    return attention_of(model, plan.device_type, plan.precision != "32-true")


def _read_beside_text(plan: RunPlan, folder: PreparedFolder) -> dict[str, Teacher | EntityVectors]:
    """Return what the objective reads and does not train, by its argument: a teacher, or the vectors of entities."""
    settings = plan.settings
    read: dict[str, Teacher | EntityVectors] = {}
    if "teacher" in settings.objective:
        tokenizer, model = load_tokenizer(folder.tokenizer_dir), instantiate(settings.model)
        read["teacher"] = load_teacher(settings.objective.teacher, model, tokenizer, partial(_attention, plan))
    if _reads_entities(settings):
        table = read_entity_table(folder)
        read["entities"] = EntityVectors(table.vectors, table.vectors_sha256)
    return read


def _reads_entities(settings: DictConfig) -> bool:
    """Return whether batches of the objective have the entities that a text mentions."""
    return bool(getattr(get_object(settings.objective._target_), "reads_entities", False))


def build_trainer(plan: RunPlan, strategy: Strategy) -> L.Trainer:
    """Build the trainer of a run."""
    options = [name for name in map(str, plan.settings.trainer) if f"trainer.{name}" not in OURS]
    make = partial(instantiate, OmegaConf.masked_copy(plan.settings.trainer, options))
    callbacks, loggers = (_instances(group) for group in (plan.settings.callbacks, plan.settings.logger))
    keeps_time = any(isinstance(callback, Preemption) for callback in callbacks)
    return make_trainer(make, strategy, plan.processes, plan.precision, callbacks, loggers, keeps_time)


def _instances(group: DictConfig) -> list[Any]:
    return [each for each in instantiate(group).values() if each is not None]  # null leaves one out


def _announcement(plan: RunPlan, start: StartingPoint | None, num_parameters: int) -> str:
    """Return in one line what is about to happen."""
    place = f"{plan.processes.size} x {plan.processes.accelerator}"
    how = f"continuing from {start.checkpoint}" if start is not None else "from the start"
    size = f"{num_parameters / 1e6:.1f} M parameters"
    return f"{plan.settings.run_name}: {size}, {place}, {plan.precision}, {plan.steps_in_words}, {how}"


def _plain(settings: DictConfig) -> Any:
    """Return settings as plain containers, all of them resolved."""
    return OmegaConf.to_container(settings, resolve=True)


def last_loss(cfg: DictConfig) -> float | None:
    """Train and return the last val/loss, which sweepers minimize; None without a held-out split."""
    pretrain(cfg)
    return results(RunFolder(cfg.run_dir).path).last_loss


main = entry_point("pretrain", last_loss)

if __name__ == "__main__":
    main()
