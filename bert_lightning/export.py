"""bert-export: a checkpoint of a run, of whatever strategy, becomes a Hugging Face folder."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import shutil
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.corpus_sample import corpus_sample
from bert_lightning.checkpoints.electra_halves import GENERATOR_FOLDER, discriminator_half, generator_half
from bert_lightning.checkpoints.huggingface import ELECTRA, Family, architecture, family_of, write_folder
from bert_lightning.checkpoints.model_card import CARD, Training, model_card
from bert_lightning.checkpoints.next_commands import after_export
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.progress_bars import say_end, stage
from bert_lightning.settings.run_folder import RunFolder, step_of
from data_pipeline.tokenizers.bert_steps import settings_beyond_bert
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer_files import VOCABULARY
from data_pipeline.tokenizers.transformers_files import AS_IT_IS, tokenizer_files
from data_pipeline.untrusted.plain_files import has_file, read_plain_text
from data_pipeline.untrusted.typed_fields import listed


def export(cfg: DictConfig) -> Path:
    """Write `output_dir`, which appears whole or not at all.

    Raises:
        ValueError: if the checkpoint cannot be read or the folder is not empty.
    """
    output = Path(cfg.output_dir).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output_dir={cfg.output_dir} exists and is not empty; choose another folder or remove it")
    with stage("reading the checkpoint"):
        pretrained = load_pretrained(cfg.checkpoint)
    config, tokenizer_text, special, folds_case, beyond = pretrained.config, {}, None, None, []
    if pretrained.tokenizer_files:
        tokenizer = pretrained.tokenizer()
        special = special_tokens(tokenizer)
        config = replace(config, pad_token_id=special.pad)
        tokenizer_text = tokenizer_files(tokenizer, corpus_sample(pretrained.settings, tokenizer))
        beyond = settings_beyond_bert(tokenizer)
        folds_case = tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str("A") == "a"
    state, generator = discriminator_half(pretrained.state), generator_half(pretrained.state, config)
    loader = architecture(config, state, pretrained.head)
    kind = None if generator is None else _generator_family(*generator)
    source = Path(cfg.checkpoint)
    if source.is_dir() and has_file(source, CARD):
        card = read_plain_text(source, CARD)  # that of a Hugging Face folder says more than can be known here
    else:
        training = Training(
            settings=pretrained.settings,
            corpus=pretrained.corpus,
            held_out=held_out_figures(source),
            scores=_scores(source),
            folds_case=folds_case,
        )
        card = model_card(config, loader, pretrained.head, training)
    partial = output.parent / f".{output.name}.exporting"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with stage("writing the weights"):
            write_folder(partial, config, state, tokenizer_text, pretrained.head, special=special)
            if generator is not None:
                (partial / GENERATOR_FOLDER).mkdir()
                write_folder(partial / GENERATOR_FOLDER, *generator, tokenizer_text, family=kind)
        (partial / CARD).write_text(card, encoding="utf-8")
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{cfg.output_dir}: load it with transformers' {loader} and AutoTokenizer")
    if generator is not None and kind is not None:
        print(f"{cfg.output_dir}/{GENERATOR_FOLDER}: the generator, for {kind.architecture(generator[1])}")
    if layers := pretrained.fusing_layers:
        print(f"{cfg.output_dir}: reads text alone; layers that read entities in training: {listed(map(str, layers))}")
    if tokenizer_text and VOCABULARY not in tokenizer_text:
        why = f" ({' and '.join(beyond)} of bert-prepare)" if beyond else ""
        print(f"{cfg.output_dir}: BertTokenizer would give other ids{why}, so the tokenizer is a {AS_IT_IS}")
    say_end([("card", output / CARD)], after_export(pretrained, cfg.output_dir))
    return output


def _generator_family(config: EncoderConfig, state: Mapping[str, Tensor]) -> Family:
    """Return ELECTRA, or the first family that computes what the generator does if ELECTRA's class does not.

    Args:
        config: Sizes of the generator.
        state: Its tensors, by name.

    Raises:
        ValueError: naming what no class of transformers has.
    """
    return family_of(config, state, wanted=None if ELECTRA.objections(config, state, None) else ELECTRA)


def held_out_figures(checkpoint: Path) -> dict[str, float]:
    """Return the last figures on held-out text of the run of a checkpoint, up to its step; none if they are not here.

    Args:
        checkpoint: The folder of a run, or one of its checkpoints.
    """
    folder = RunFolder(checkpoint if RunFolder(checkpoint).metrics.is_file() else checkpoint.parent.parent)
    saved = folder.saved()[-1:] if folder.path == checkpoint else [checkpoint] * folder.holds(checkpoint)
    if not saved or not folder.metrics.is_file():
        return {}
    figures = {}
    for name, (steps, values) in read_columns(folder.metrics).items():
        until = bisect_right(steps, step_of(saved[0]))
        if name.startswith("val/") and until:
            figures[name] = values[until - 1]
    return figures


def _scores(checkpoint: Path) -> dict[str, Any] | None:
    """Return what all seeds of a fine-tuning have reached, None for other checkpoints and for a single seed."""
    scores = FinetunedFolder(checkpoint).read_scores() if checkpoint.is_dir() else None
    return scores if scores is not None and "best_seed" in scores else None


main = entry_point("export", export)

if __name__ == "__main__":
    main()
