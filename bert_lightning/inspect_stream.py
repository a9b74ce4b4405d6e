"""bert-inspect shows a stream: its first examples in words, its statistics, and its digests; or a tokenizer at work."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import json
import re
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tokenizers import Tokenizer

from bert_lightning.reports.health_table import print_health
from bert_lightning.reports.tokenizer_table import encoded_text, print_encoded, print_tokenizer, tokenizer_facts
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import Processes, check_numbers, prepared_folder
from bert_lightning.settings.phase_settings import build_phases, check_phases, complete_phases
from bert_lightning.settings.run_folder import check_file_place, write_whole
from bert_lightning.settings.setting_types import check_values
from data_pipeline.knowledge.entity_table import entity_titles
from data_pipeline.prepared.manifest import FILE_NAME as MANIFEST
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.one_label import one_label
from data_pipeline.streams.packed_batch import ENTITIES, MLM, PackedBatch, Targets, batch_digest
from data_pipeline.streams.phased_stream import PhasedStream
from data_pipeline.streams.phases import Phase
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream_statistics import StreamStatistics, unigram_entropy
from data_pipeline.tokenizers.pieces import BYTE_SPACE, CONTINUATION, SPACE
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import check_whole_number


def inspect(cfg: DictConfig) -> dict[str, Any]:
    """Read `num_batches` global batches, print examples and a table, and write JSON and digests if asked.

    With `tokenizer`, show this tokenizer and what it makes of `text` instead.

    Returns:
        Statistics of the stream, by name; or facts of the tokenizer.
    """
    check_values(
        cfg, text=str | None, text_pair=str | None, entities=bool | None, output=str | None, digests=str | None
    )
    for setting in ("output", "digests"):
        if cfg[setting]:
            check_file_place(Path(cfg[setting]), setting)
    if cfg.tokenizer.path is not None:
        return _inspect_tokenizer(cfg)
    if cfg.text is not None or cfg.text_pair is not None:
        raise ValueError("text=... is shown as a tokenizer reads it; give tokenizer=<folder or file>")
    data = cfg.data
    check_numbers(data, cfg.seed)
    check_whole_number("num_batches", cfg.num_batches)
    check_whole_number("first_step", cfg.first_step, least=0)
    check_phases(complete_phases(cfg), Processes("cpu", 1, 1, False))
    phases = build_phases(cfg).until(cfg.first_step + cfg.num_batches)
    splits = [_samples(cfg, phase) for phase in phases]
    samples = splits[phases.number_at_step(cfg.first_step + 1)]
    stream = PhasedStream(phases, splits, num_workers=data.num_workers)
    stream.start_after(cfg.first_step)
    console = Console(markup=False, emoji=False, soft_wrap=True)
    statistics, digests = StreamStatistics(samples.vocabulary, samples.pairs.label_names), []
    begin = time.perf_counter()
    for step, batches in enumerate(islice(stream, cfg.num_batches)):
        if step == 0:
            _print_examples(batches, samples, cfg.num_examples, console)
        statistics.add(batches)
        if cfg.digests:
            digests.append(batch_digest(batches))
    seconds = time.perf_counter() - begin
    table: dict[str, Any] = statistics.table()
    table["tokens_per_second"] = table["tokens"] / seconds
    table["epochs"] = stream.epochs_passed(stream.consumed_samples)
    if cfg.unigram_entropy:
        table["unigram_entropy"] = unigram_entropy(samples.folder, cfg.split, samples.exclude_shards)
    _print_table(table, console)
    print_health(samples.folder.manifest, console)
    if said := one_label(samples):
        console.print(f"warning: {said}", style="yellow")
    if cfg.output:
        write_whole(Path(cfg.output), json.dumps(table, indent=2) + "\n")
    if cfg.digests:
        write_whole(Path(cfg.digests), "".join(f"{digest}\n" for digest in digests))
    return table


def _inspect_tokenizer(cfg: DictConfig) -> dict[str, Any]:
    """Print a tokenizer, and the text if there is one; write both as JSON if asked."""
    if cfg.text is None and cfg.text_pair is not None:
        raise ValueError("text_pair is the second text of text=..., which is not given")
    path = Path(str(cfg.tokenizer.path))
    tokenizer = load_tokenizer(path / "tokenizer" if (path / MANIFEST).is_file() else path)
    console = Console(markup=False, emoji=False, soft_wrap=True)
    table: dict[str, Any] = tokenizer_facts(tokenizer)
    print_tokenizer(tokenizer, table, console)
    if cfg.text is not None:
        encoded = encoded_text(tokenizer, cfg.text, cfg.text_pair)
        print_encoded(tokenizer, encoded, console)
        table["text"] = encoded
    if cfg.output:
        write_whole(Path(cfg.output), json.dumps(table, indent=2) + "\n")
    return table


def _samples(cfg: DictConfig, phase: Phase) -> PretrainingSamples:
    """Return the split as a phase reads it."""
    data = cfg.data
    folder = prepared_folder(data)
    return PretrainingSamples(
        folder,
        cfg.split,
        instantiate(cfg.pairs),
        phase.masking,
        phase.seq_len,
        cfg.seed,
        data.num_lanes,
        data.window_shards,
        exclude_shards=list(data.exclude_shards),
        entities=folder.manifest.knowledge is not None if cfg.entities is None else cfg.entities,
    )


def _print_examples(batches: list[PackedBatch], samples: PretrainingSamples, number: int, console: Console) -> None:
    """Print the first examples of a global batch: their tokens, segments, and predictions."""
    tokenizer = load_tokenizer(samples.folder.tokenizer_dir)
    names = {NO_LABEL: "no pair label"} | dict(enumerate(samples.pairs.label_names))
    titles = entity_titles(samples.folder) if samples.knowledge else []
    location = {int(sample): (batch, row) for batch in batches for row, sample in enumerate(batch.sample_ids)}
    examples = [location[sample] for sample in range(min(number, len(location)))]
    words = [example_in_words(*example, tokenizer) for example in examples]
    if used := legend(words, console.is_terminal):
        console.print(f"\n{used}")
    for sample, (batch, row) in enumerate(examples):
        label = names[_pair_label(batch, row)].replace("_", " ")
        console.print(Text.assemble((f"\nexample {sample}", "bold"), f"  {label}"))
        console.print(words[sample])
        if samples.knowledge:
            console.print(Text.assemble(("mentions ", "bold"), mentions_in_words(batch, row, tokenizer, titles)))


def _pair_label(batch: PackedBatch, row: int) -> int:
    return NO_LABEL if batch.pair_target is None else int(batch.pair_target.labels[row])


def example_in_words(batch: PackedBatch, row: int, tokenizer: Tokenizer) -> Text:
    """Return one example as text: predictions as `shown->label` in reverse video, the second segment underlined."""
    tokens, labels = batch.tokens, _labels(batch.targets[MLM])
    begin, end = tokens.cu_seqlens[row : row + 2].tolist()
    text = Text()
    for position in range(begin, end):
        shown, label = int(tokens.input_ids[position]), labels.get(position, NO_LABEL)
        style = "underline" if tokens.token_type_ids[position] else ""
        if label != NO_LABEL:
            text.append(f"{_token(tokenizer, shown)}->{_token(tokenizer, label)}", style=f"{style} reverse")
        else:
            text.append(_token(tokenizer, shown), style=style)
        text.append(" ")
    return text


def legend(examples: Sequence[Text], has_styles: bool) -> str:
    """Return in words what the marks in examples mean, "" if they have none.

    Args:
        examples: Examples as `example_in_words` returns them.
        has_styles: Whether underlined text is seen.
    """
    tokens = [token for example in examples for token in example.plain.split()]
    shown = {
        "shown->asked: the model sees the first and is asked for the second": any("->" in token for token in tokens),
        "underlined: the second segment": has_styles
        and any("underline" in str(span.style) for example in examples for span in example.spans),
        f"{CONTINUATION}: the piece goes on a word": any(token.startswith(CONTINUATION) for token in tokens),
    }
    for mark in (BYTE_SPACE, SPACE):
        shown[f"{mark}: the piece begins a word"] = any(token.startswith(mark) for token in tokens)
    return "; ".join(words for words, is_shown in shown.items() if is_shown)


def mentions_in_words(batch: PackedBatch, row: int, tokenizer: Tokenizer, titles: Sequence[str]) -> str:
    """Return the mentions of one example as text: the first token of each, and the title of its entity."""
    begin, end = batch.tokens.cu_seqlens[row : row + 2].tolist()
    mlm, mentions = (_labels(batch.targets[name]) for name in (MLM, ENTITIES))
    shown = (
        f"{_token(tokenizer, mlm.get(first, int(batch.tokens.input_ids[first])))} = {printable(titles[entity])}"
        for first, entity in mentions.items()
        if begin <= first < end
    )
    return "; ".join(shown) or "none"


def _labels(targets: Targets) -> dict[int, int]:
    """Return the labels of targets by their positions."""
    return dict(zip(targets.positions[: targets.count].tolist(), targets.labels.tolist(), strict=False))


def _token(tokenizer: Tokenizer, number: int) -> str:
    return printable(tokenizer.id_to_token(number) or f"<{number}>")


def _print_table(statistics: dict[str, Any], console: Console) -> None:
    table = Table("quantity", "value", title="\nthe stream")
    table.columns[1].justify = "right"
    for name, value in statistics.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:,.4g}")
    console.print(table)


def main() -> None:
    """Run the command."""
    # Hydra takes `tokenizer=` for the choice of a file in conf/tokenizer.
    sys.argv[1:] = [re.sub(r"^tokenizer=", "tokenizer.path=", argument) for argument in sys.argv[1:]]
    entry_point("inspect", inspect)()


if __name__ == "__main__":
    main()
