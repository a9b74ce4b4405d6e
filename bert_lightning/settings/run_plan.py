"""What a run is going to be, decided once from the settings, the machine and the prepared data."""

from dataclasses import dataclass

from omegaconf import DictConfig

from bert_lightning.settings.config import (
    Processes,
    check_numbers,
    filled_in,
    find_processes,
    prepared_folder,
    validate,
)
from bert_lightning.settings.hardware import resolve_precision
from bert_lightning.settings.phase_settings import FROM_DATA, check_phases, complete_phases
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.token_budget import with_steps
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.whole_numbers import number_of


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The decisions that everything else of a run is built from.

    Attributes:
        settings: The config, with what follows from the prepared data and the phases filled in; the data group has the
            sizes of the last phase. It is read-only.
        processes: The processes that train.
        precision: The precision of the computation; `auto` has been resolved.
        folder: The folder of the run.
    """

    settings: DictConfig
    processes: Processes
    precision: str
    folder: RunFolder

    @property
    def device_type(self) -> str:
        """Torch's word for the accelerator, "cuda" or "cpu"."""
        return self.processes.device_type

    @property
    def steps_in_words(self) -> str:
        """The number of steps, and the size of the batches or the number of phases."""
        max_steps, phases = self.settings.trainer.max_steps, self.settings.phases
        max_tokens = self.settings.trainer.max_tokens
        budget = f" for {number_of(max_tokens, 'token')}" if max_tokens is not None else ""
        if phases:
            return f"{number_of(max_steps, 'step')} in {number_of(len(phases), 'phase')}{budget}"
        examples = number_of(self.settings.data.global_batch_size, "example")
        return f"{number_of(max_steps, 'step')} of {examples}{budget}"


def plan_run(cfg: DictConfig, is_parallel: bool) -> RunPlan:
    """Check the settings of bert-pretrain against each other, the machine and the prepared data, and fill them in.

    Args:
        cfg: The settings as the user gave them. They are not changed.
        is_parallel: Whether the strategy runs several processes.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    check_numbers(cfg.data, cfg.seed)
    processes = find_processes(cfg.trainer, is_parallel)
    folder = prepared_folder(cfg.data)
    manifest = folder.manifest
    has_validation = manifest.without(list(cfg.data.exclude_shards)).splits.get("validation")
    trainer = {} if has_validation else {"limit_val_batches": 0}
    if cfg.model.vocab_size not in (None, manifest.vocab_size):
        raise ValueError(
            f"model.vocab_size={cfg.model.vocab_size}, but the vocabulary of data.path={cfg.data.path} has "
            f"{manifest.vocab_size} entries; null takes these"
        )
    cfg = with_steps(cfg)
    phases = complete_phases(cfg)
    tokenizer = load_tokenizer(folder.tokenizer_dir)
    settings = filled_in(
        cfg,
        {
            "model": {"vocab_size": manifest.vocab_size, "pad_token_id": special_tokens(tokenizer).pad},
            "trainer": trainer,
            "data": {name: phases[-1][name] for name in FROM_DATA},
            "phases": phases if cfg.phases is not None else None,
        },
    )
    validate(settings, processes)
    check_phases(phases, processes, settings.model.max_position_embeddings)
    precision = resolve_precision(settings.trainer.precision, processes.accelerator)
    return RunPlan(settings, processes, precision, RunFolder(settings.run_dir))
