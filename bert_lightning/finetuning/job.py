"""What all seeds of a fine-tuning share: the checkpoint, the task with its examples, and the processes."""

from dataclasses import dataclass, replace

from hydra.utils import instantiate
from lightning.pytorch.strategies import ParallelStrategy
from omegaconf import DictConfig, OmegaConf

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.execution.strategy_checks import check_sharding
from bert_lightning.finetuning.sizes import check_seq_len, fewer_examples
from bert_lightning.finetuning.task import TRAIN, Split, Task
from bert_lightning.finetuning.task_teacher import TaskTeacher, find_teacher
from bert_lightning.models.attention import PackedAttention, attention_of
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.layer_reading import LayerReading, layer_reading
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.settings.config import Processes, find_processes
from bert_lightning.settings.hardware import resolve_precision
from bert_lightning.settings.setting_types import check_types, check_value, check_values
from bert_lightning.settings.task_settings import known_settings
from data_pipeline.streams.task_stream import examples_sha256
from data_pipeline.untrusted.typed_fields import listed


@dataclass(frozen=True, slots=True)
class Job:
    """What all seeds share.

    Attributes:
        processes: The processes that train.
        precision: The precision of the computation.
        pretrained: What the seeds start from.
        config: Sizes and dropout of the encoder.
        attention: How packed sequences attend to themselves.
        reading: The hidden states that the head reads.
        task: The task.
        splits: Its splits by name.
        teacher: The fine-tuned model that the seeds learn from; None for the labels alone.
    """

    processes: Processes
    precision: str
    pretrained: Pretrained
    config: EncoderConfig
    attention: PackedAttention
    reading: LayerReading
    task: Task
    splits: dict[str, Split]
    teacher: TaskTeacher | None = None

    @property
    def device_type(self) -> str:
        """Torch's word for the accelerator, "cuda" or "cpu"."""
        return self.processes.device_type

    def objective(self, classifier_dropout: float | None) -> TaskObjective:
        """Return a new model of the task."""
        objective = self.task.objective(self.config, self.attention, classifier_dropout)
        objective.read_layers(self.reading)
        return objective

    def teach(self, objective: TaskObjective) -> None:
        """Have a model of the task learn from the teacher, if there is one; each model gets a copy of it."""
        if self.teacher is None:
            return
        given = self.teacher.pretrained
        attention = attention_of(given.config, self.device_type, self.precision != "32-true")
        teacher = self.task.objective(given.config, attention, None)
        assert given.head is not None
        teacher.read_layers(given.head.reading)
        wanted = set(teacher.state_dict())
        if set(given.state) != wanted:
            raise ValueError(f"teacher has not the tensors of the task's head: {listed(set(given.state) ^ wanted)}")
        teacher.load_state_dict(given.state)
        objective.learn_from(teacher, self.teacher.weight, self.teacher.temperature)

    def examples_sha256(self) -> dict[str, str]:
        """Return the hash of the encoded examples of every split."""
        return {name: examples_sha256(split.encoded) for name, split in self.splits.items()}

    def head(self) -> TaskHead:
        """Return what a checkpoint says of the head."""
        return replace(self.task.head(), reading=self.reading)


def prepare_job(cfg: DictConfig) -> Job:
    """Check the settings that all seeds share, read the checkpoint and the files of the task.

    Raises:
        ValueError: naming the setting, or the file and line, at fault.
    """
    task_settings = _checked_task(cfg)
    strategy = instantiate(cfg.strategy)
    processes = find_processes(cfg.trainer, isinstance(strategy, ParallelStrategy))
    precision = resolve_precision(cfg.trainer.precision, processes.accelerator)
    if precision == "fp8":
        raise ValueError("trainer.precision must be one of auto, 32-true, bf16-mixed for fine-tuning; got fp8")
    if isinstance(strategy, FullyShardedStrategy):
        check_sharding(strategy, processes, precision, instantiate(cfg.compile))
    task: Task = instantiate(task_settings, _convert_="all")
    pretrained = load_pretrained(cfg.checkpoint)
    changes = {str(name): value for name, value in cfg.model.items() if value is not None}
    config = replace(pretrained.config, **changes)
    check_seq_len(cfg.data.seq_len, config.max_position_embeddings)
    reading = layer_reading(cfg.layers, cfg.combine, config)
    if not reading.is_last and not cfg.freeze:
        raise ValueError(f"layers={list(cfg.layers)} needs freeze=true: other layers are features of a frozen encoder")
    attention = attention_of(config, processes.device_type, precision != "32-true")
    tokenizer = pretrained.tokenizer()
    splits = task.prepare(tokenizer, cfg.data.seq_len, config.is_causal)
    teacher = find_teacher(cfg, tokenizer, task.head())
    train = splits[TRAIN]
    splits[TRAIN] = replace(train, encoded=fewer_examples(train.encoded, cfg.task.train_examples))
    return Job(processes, precision, pretrained, config, attention, reading, task, splits, teacher)


def _checked_task(cfg: DictConfig) -> DictConfig:
    """Check the types of all settings and return those of the task group that the task knows."""
    if OmegaConf.select(cfg, "task._target_") is None:
        raise ValueError("task must be the name of a file in conf/task, such as task=sst2")
    groups = [name for name in map(str, cfg) if not OmegaConf.is_missing(cfg, name)]
    for name in groups:
        if name != "task" and isinstance(cfg[name], DictConfig):
            check_types(cfg[name], name)
    task = known_settings(cfg.task)
    if OmegaConf.select(cfg, "callbacks.checkpoint._target_") is None:
        raise ValueError("callbacks.checkpoint must be a group: a fine-tuning keeps the best checkpoint of each seed")
    check_values(cfg, layers=list[int], combine=str, teacher=str | None)
    check_values(cfg, reinit_layers=int, layer_decay=float, head_lr=float | None)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        check_value(f"model.{name}", float | None, cfg.model[name])
    if cfg.resume not in (None, "auto"):
        raise ValueError(f"resume must be null or auto, which goes on with all seeds; got {cfg.resume}")
    for name in ("grid", "freeze"):
        if not isinstance(cfg[name], bool):
            raise ValueError(f"{name} must be true or false; got {cfg[name]}")
    return task
