"""bert-export: a checkpoint of a run, of whatever strategy, becomes a Hugging Face folder."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.corpus_sample import corpus_sample
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.checkpoints.model_card import CARD, model_card
from bert_lightning.checkpoints.tensor_names import architecture
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.transformers_files import tokenizer_files


def export(cfg: DictConfig) -> Path:
    """Write `output_dir`, which appears whole or not at all.

    Raises:
        ValueError: if the checkpoint cannot be read or the folder is not empty.
    """
    output = Path(cfg.output_dir).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output_dir={cfg.output_dir} exists and is not empty; choose another folder or remove it")
    pretrained = load_pretrained(cfg.checkpoint)
    config, tokenizer_text = pretrained.config, {}
    if pretrained.tokenizer_files:
        tokenizer = pretrained.tokenizer()
        config = replace(config, pad_token_id=special_tokens(tokenizer).pad)
        tokenizer_text = tokenizer_files(tokenizer, corpus_sample(pretrained.settings, tokenizer))
    loader = architecture(pretrained.state, pretrained.head)
    card = model_card(pretrained.config, loader, pretrained.head, _scores(Path(cfg.checkpoint)))
    partial = output.parent / f".{output.name}.exporting"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_folder(partial, config, pretrained.state, tokenizer_text, pretrained.head)
        (partial / CARD).write_text(card, encoding="utf-8")
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{cfg.output_dir}: load it with transformers' {loader} and AutoTokenizer")
    return output


def _scores(checkpoint: Path) -> dict[str, Any] | None:
    """Return what all seeds of a fine-tuning have reached, None for other checkpoints and for a single seed."""
    scores = FinetunedFolder(checkpoint).read_scores() if checkpoint.is_dir() else None
    return scores if scores is not None and "best_seed" in scores else None


main = entry_point("export", export)

if __name__ == "__main__":
    main()
