"""bert-benchmark part=data: preparation, the stream and what others use instead, on the same text and token ids."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from rich.console import Console

from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.padded_rows import padded_speed
from bert_lightning.benchmarks.prepare_speed import CorpusSources, prepare_speed
from bert_lightning.benchmarks.stream_speed import (
    Measure,
    SampleSource,
    Share,
    first_batch_seconds,
    resident_growth,
    stream_speed,
)
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.masking.word_masking import SpanMasking, WholeWordMasking
from data_pipeline.tokenizers.tokenizer import load_tokenizer

POSITIONS = (0.0, 0.5, 0.99)
LAYOUTS = {"packed": stream_speed, "padded": padded_speed}
NOTE = (
    "Filler: of the tokens computed. packed, padded: ours, the same examples; HF collator: transformers' "
    "DataCollatorForLanguageModeling, on our examples as lists in memory; webdataset: a sample a document, read from "
    "a tar, and the HF collator. One thread a process; the median of the repeats, all rows measured in turn (masks "
    "other than those of single tokens: once)."
)


def mask_kinds(chosen: TokenMasking) -> dict[str, TokenMasking]:
    """Return a masking of every kind, single tokens first, with the settings that the chosen one shares with them."""
    settings = vars(chosen)
    shared = {name: value for name, value in settings.items() if name != "span_weights"}
    return {
        "token masks": TokenMasking(**shared | {"exact_count": True}),
        "drawn count": TokenMasking(**shared | {"exact_count": False}),
        "whole words": WholeWordMasking(**shared),
        "spans": SpanMasking(**(settings if isinstance(chosen, SpanMasking) else shared)),
    }


class DataPart:
    """Measure the data pipeline.

    Args:
        source: The prepared folder and the settings of the stream.
        masking: The masking whose first batch and memory are measured; the other kinds of masks take its settings.
        share: The share of one rank in the stream.
        seq_lens: Sequence lengths to measure.
        num_workers: Numbers of loader processes to measure; 0 reads in this one.
        seconds: Seconds that each figure is measured for, after a warm-up.
        repeats: Measurements of each figure, ours and others' in turn; the median is kept.
        corpus: Raw text to prepare, as bert-prepare takes it; None leaves preparation out.
        text_bytes: Most bytes of input to prepare, shared among the sources.
    """

    def __init__(
        self,
        source: SampleSource,
        masking: TokenMasking,
        share: Share,
        seq_lens: Sequence[int],
        num_workers: Sequence[int],
        seconds: float,
        repeats: int,
        corpus: CorpusSources | None = None,
        text_bytes: int = 50_000_000,
    ) -> None:
        import transformers  # noqa: F401  before anything is measured

        self.source = source
        self.masking = masking
        self.share = share
        self.seq_lens = list(seq_lens)
        self.num_workers = list(num_workers)
        self.seconds = seconds
        self.repeats = repeats
        self.corpus = corpus
        self.text_bytes = text_bytes

    def __call__(self, console: Console) -> list[FigureTable]:
        """Measure on one thread a process, as loader processes run."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._measure(console)
        finally:
            torch.set_num_threads(threads)

    def _measure(self, console: Console) -> list[FigureTable]:
        tables = []
        if self.corpus is not None:
            console.print("preparation, stage by stage, in one process ...")
            tables.append(
                prepare_speed(self.corpus, load_tokenizer(self.source.folder().tokenizer_dir), self.text_bytes)
            )
        for seq_len in self.seq_lens:
            console.print(f"the stream of examples of {seq_len} tokens, and what others use ...")
            tables.append(self._streams(seq_len))
        console.print("the first batch after a start or a resume, and memory ...")
        tables += [self._first_batches(), self._memory()]
        return tables

    def _streams(self, seq_len: int) -> FigureTable:
        table = FigureTable(
            f"stream, seq_len {seq_len}",
            ("what", "loader processes", "million real tokens/s", "filler %"),
            note=NOTE,
        )
        (first, masking), *rest = mask_kinds(self.masking).items()
        repeated = self._ours(seq_len, first, masking) | self._others(seq_len)
        found: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in repeated}
        for _ in range(self.repeats):
            for key, measure in repeated.items():
                found[key].append(measure())
        for kind, masking in rest:
            found |= {key: [measure()] for key, measure in self._ours(seq_len, kind, masking).items()}
        for (name, workers), figures in found.items():
            tokens, filler = sorted(figures)[len(figures) // 2]
            table.rows.append((name, workers, tokens / 1e6, 100 * filler))
        return table

    def _ours(self, seq_len: int, kind: str, masking: TokenMasking) -> dict[tuple[str, int], Measure]:
        samples = self.source.samples(seq_len, masking)
        return {
            (f"{layout}, {kind}", workers): measurement(samples, self.share, workers, self.seconds)
            for layout, measurement in LAYOUTS.items()
            for workers in self.num_workers
        }

    def _others(self, seq_len: int) -> dict[tuple[str, int], Measure]:
        from bert_lightning.benchmarks.collator_baselines import collator_speed, tar_speed

        samples = self.source.samples(seq_len, self.masking)
        mask_prob = self.masking.mask_prob
        measures = {
            ("HF collator, padded", workers): collator_speed(samples, self.share, workers, self.seconds, mask_prob)
            for workers in self.num_workers
        }
        return measures | {("webdataset, padded", 0): tar_speed(samples, self.share, self.seconds, mask_prob)}

    def _first_batches(self) -> FigureTable:
        table = FigureTable(
            "seconds to the first batch",
            ("seq_len", *(f"at {position:.0%} of an epoch" for position in POSITIONS)),
            note="from nothing in memory, the example index counted before; in this process",
        )
        for seq_len in self.seq_lens:
            open_samples = partial(self.source.samples, seq_len, self.masking)
            seconds = [self._median(partial(first_batch_seconds, open_samples, self.share, at)) for at in POSITIONS]
            table.rows.append((seq_len, *seconds))
        return table

    def _median(self, measure: Callable[[], float]) -> float:
        return sorted(measure() for _ in range(self.repeats))[self.repeats // 2]

    def _memory(self) -> FigureTable:
        seq_len = self.seq_lens[0]
        table = FigureTable(
            f"resident memory of a process that streams, seq_len {seq_len}",
            ("share of the time", "MB", "examples read"),
            note="a fresh process; the first window of every lane is loaded in the first row",
        )
        open_samples = partial(self.source.samples, seq_len, self.masking)
        table.rows.extend(resident_growth(open_samples, self.share, 4 * self.seconds))
        return table
