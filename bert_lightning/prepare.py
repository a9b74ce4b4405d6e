"""bert-prepare turns text into a prepared folder: tokenizer, token shards and manifest."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import logging
import shlex
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from bert_lightning.checkpoints.known_sources import NOT_STATED
from bert_lightning.reports.health_table import print_health
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.progress_bars import say_end
from bert_lightning.settings.setting_types import check_types, check_value
from data_pipeline.corpora.source_files import corpus_for
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.preparation import Preparation, TokenizerSource
from data_pipeline.preparation.source_entries import LEFT_ASIDE
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.languages import default_keep_joiners, default_strip_accents
from data_pipeline.tokenizers.special_tokens import check_special_tokens, finish
from data_pipeline.tokenizers.tokenizer import load_tokenizer, tokenizer_sha256
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number, number_of

log = logging.getLogger("bert_lightning.prepare")
FIRST_RUN = "experiment=demo run_name=first"
"""Settings of a first run, which takes minutes and leaves the plateau of the loss."""
_NEWER = ("special_tokens", "keep_joiners", "split_emoji")


def prepare(cfg: DictConfig) -> Manifest:
    """Prepare the corpus of a config and print a summary of what was kept and dropped.

    Returns:
        The manifest of the prepared folder.
    """
    numbers = {name: cfg[name] for name in ("validation_fraction", "shard_tokens", "group_bytes", "sample_bytes")}
    datatrove_settings = (
        cast(dict[str, Any], OmegaConf.to_container(cfg[group], resolve=True)) for group in ("filters", "formatters")
    )
    chosen, formatters = ((instantiate(settings), settings) for settings in datatrove_settings)
    filters = DocumentFilters(*chosen, *formatters)
    if not isinstance(cfg.entities, DictConfig):
        raise ValueError(f"entities has the keys min_count, size and seed; got entities={cfg.entities}")
    check_types(cfg.entities, "entities")
    preparation = Preparation(
        Path(cfg.output_dir),
        **numbers,
        filters=filters,
        deduplication=instantiate(cfg.deduplication) or None,
        entities=instantiate(cfg.entities),
    )
    sources = instantiate(cfg.corpus).sources
    settings = _tokenizer_settings(cfg.tokenizer, {source.language for source in sources})
    if cfg.tokenizer.path:
        given = load_tokenizer(cfg.tokenizer.path, cfg.tokenizer.lowercase, cfg.tokenizer.strip_accents)
        finish(given, extra=check_special_tokens(settings.get("special_tokens", [])))
        make_tokenizer: TokenizerSource = partial(_given, given)
        settings["sha256"] = tokenizer_sha256(given)
    else:
        make_tokenizer = partial(_trained, _training(settings))
    begin = time.perf_counter()
    manifest, counts = preparation.run(
        sources,
        make_tokenizer,
        settings,
        instantiate(cfg.executor),
    )
    _print_summary(manifest, counts, preparation.output_dir, time.perf_counter() - begin)
    data = f"data.path={shlex.quote(str(cfg.output_dir))}"
    say_end([("prepared", preparation.output_dir)], [f"bert-inspect {data}", f"bert-pretrain {data} {FIRST_RUN}"])
    return manifest


def _tokenizer_settings(tokenizer: DictConfig, languages: Collection[str]) -> dict[str, Any]:
    """Return the settings of the tokenizer, with what follows from the languages of the corpus if it is trained.

    A newer setting that is not used is left out, so that a folder of an older version is still the same preparation.
    """
    settings = cast(dict[str, Any], OmegaConf.to_container(tokenizer, resolve=True))
    if tokenizer.path is None:
        defaults = {"strip_accents": default_strip_accents(languages), "keep_joiners": default_keep_joiners(languages)}
        for name, value in defaults.items():
            if value is not None and settings.get(name, value) is None:
                settings[name] = value
                log.info(
                    "tokenizer.%s=%s, because corpus.language is %s",
                    name,
                    str(value).lower(),
                    ", ".join(sorted(languages)),
                )
    return {name: value for name, value in settings.items() if not (name in _NEWER and value in (None, []))}


def _training(settings: Mapping[str, Any]) -> Callable[[Sequence[str]], Tokenizer]:
    """Return the function that trains a tokenizer on texts."""
    for name in ("vocab_size", "min_frequency"):
        if name in settings:
            check_whole_number(f"tokenizer.{name}", settings[name])
    for name in ("strip_accents", "keep_joiners", "split_emoji"):
        check_value(f"tokenizer.{name}", bool | None, settings.get(name))
    check_special_tokens(settings.get("special_tokens", []))
    if "limit_alphabet" in settings:
        check_whole_number("tokenizer.limit_alphabet", settings["limit_alphabet"], or_null=True)
    train: Callable[[Sequence[str]], Tokenizer] = instantiate({k: v for k, v in settings.items() if k != "path"})
    return train


def _trained(train: Callable[[Sequence[str]], Tokenizer], texts: Callable[[], Sequence[str]]) -> Tokenizer:
    return train(texts())


def _given(tokenizer: Tokenizer, texts: Callable[[], Sequence[str]]) -> Tokenizer:
    return tokenizer


def _print_summary(manifest: Manifest, counts: Counter[str], output_dir: Path, seconds: float) -> None:
    console = Console(markup=False, emoji=False, soft_wrap=True)
    if not counts:
        console.print(f"{output_dir} already holds this preparation; nothing to do")
    table = Table("", "documents", "sentences", "tokens", "bytes", "shards", title=str(output_dir))
    for column in table.columns[1:]:
        column.justify = "right"
    for split, shards in manifest.splits.items():
        totals = manifest.totals(split)
        table.add_row(
            split, *(f"{totals[name]:,}" for name in ("documents", "sentences", "tokens", "bytes")), str(len(shards))
        )
    console.print(table)
    for source in manifest.sources:
        weight = "" if source.weight == 1 else f", weight {source.weight:g}"
        licence = f"license {NOT_STATED}" if source.licence == NOT_STATED else source.licence
        about = f"{source.name}: {number_of(source.documents, 'document')}{weight}; {licence}; {source.origin}"
        console.print(printable(about))
        for reason, number in source.dropped.items():
            console.print(f"    {printable(_left_out(reason, number))}")
    print_health(manifest, console)
    if counts:
        megabytes = counts["bytes"] / 1e6
        console.print(f"{megabytes:,.1f} MB read in {seconds:,.1f} s: {megabytes / seconds:.2f} MB/s")


def _left_out(reason: str, number: int) -> str:
    """Return in words what a source has left out for a reason, and which corpus reads files that it does not."""
    if not reason.startswith(LEFT_ASIDE):
        return f"dropped: {number:,} ({reason})"
    kind = reason.removeprefix(LEFT_ASIDE)
    name = corpus_for(kind)
    return f"not read: {number:,} {kind}" + (
        f" (corpus={name} reads {'it' if number == 1 else 'them'})" if name else ""
    )


main = entry_point("prepare", prepare)

if __name__ == "__main__":
    main()
