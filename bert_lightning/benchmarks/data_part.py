"""bert-benchmark part=data: preparation, the stream and what others use instead, on the same text and token ids."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from bert_lightning.benchmarks.collator_baselines import collator_speed, tar_speed
from bert_lightning.benchmarks.findings import FigureTable
from bert_lightning.benchmarks.prepare_speed import CorpusSources, prepare_speed
from bert_lightning.benchmarks.stream_speed import Share, first_batch_seconds, resident_growth, stream_speed
from data_pipeline.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.samples import PretrainingSamples
from data_pipeline.tokenizer import load_tokenizer
from data_pipeline.word_masking import SpanMasking, WholeWordMasking

MASKINGS: dict[str, TokenMasking] = {
    "token": TokenMasking(),
    "token, drawn count": TokenMasking(exact_count=False),
    "whole word": WholeWordMasking(),
    "span": SpanMasking(),
}
POSITIONS = (0.0, 0.5, 0.99)


class DataPart:
    """Measure the data pipeline.

    Args:
        path: A prepared folder.
        seed: Of the stream.
        share: What one rank takes of it.
        seq_lens: Sequence lengths to measure.
        num_workers: Numbers of loader processes to measure; 0 reads in this one.
        seconds: How long each figure is measured, after a warm-up.
        repeats: How often each is; the median is kept, ours and others' in turn.
        corpus: Raw text to prepare, as bert-prepare takes it; None leaves preparation out.
        text_bytes: Input of preparation at most, shared among the sources.
    """

    def __init__(
        self,
        path: str | Path,
        seed: int,
        share: Share,
        seq_lens: Sequence[int],
        num_workers: Sequence[int],
        seconds: float,
        repeats: int,
        corpus: CorpusSources | None = None,
        text_bytes: int = 50_000_000,
    ) -> None:
        self.path = Path(path)
        self.seed = seed
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
            tables.append(prepare_speed(self.corpus, load_tokenizer(self.path / "tokenizer"), self.text_bytes))
        for seq_len in self.seq_lens:
            console.print(f"the stream of examples of {seq_len} tokens, and what others use ...")
            tables.append(self._streams(seq_len))
        console.print("the first batch after a start or a resume, and memory ...")
        tables += [self._first_batches(), self._memory()]
        return tables

    def _samples(self, seq_len: int, masking: TokenMasking) -> PretrainingSamples:
        return PretrainingSamples(self.path, "train", SegmentPairs(), masking, seq_len, self.seed)

    def _streams(self, seq_len: int) -> FigureTable:
        table = FigureTable(
            f"stream, seq_len {seq_len}",
            ("what", "loader processes", "million real tokens/s", "the same as padded rows", "filler %"),
            note="the same as padded rows: million tokens a second were every example padded to seq_len; filler: of "
            "the tokens computed. One thread a process; the median of the repeats, all rows measured in turn.",
        )
        measures: dict[tuple[str, int], Callable[[], tuple[float, float, float]]] = {}
        for name, masking in MASKINGS.items():
            samples = self._samples(seq_len, masking)
            for workers in self.num_workers if name == "token" else self.num_workers[:1]:
                measures[f"packed, {name} masks", workers] = stream_speed(samples, self.share, workers, self.seconds)
        plain = self._samples(seq_len, MASKINGS["token"])
        measures["DataCollatorForLanguageModeling, padded", 0] = collator_speed(plain, self.share, self.seconds)
        measures["webdataset, a sample a document, that collator", 0] = tar_speed(plain, self.share, self.seconds)
        found: dict[tuple[str, int], list[tuple[float, float, float]]] = {key: [] for key in measures}
        for _ in range(self.repeats):
            for key, measure in measures.items():
                found[key].append(measure())
        for (name, workers), figures in found.items():
            tokens, rows, filler = sorted(figures)[len(figures) // 2]
            table.rows.append((name, workers, tokens / 1e6, rows / 1e6, 100 * filler))
        return table

    def _first_batches(self) -> FigureTable:
        table = FigureTable(
            "seconds to the first batch",
            ("seq_len", *(f"at {position:.0%} of an epoch" for position in POSITIONS)),
            note="from nothing in memory, the example index counted before; in this process",
        )
        for seq_len in self.seq_lens:
            open_samples = partial(self._samples, seq_len, MASKINGS["token"])
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
        settings = (str(self.path), self.seed, seq_len, self.share, 4 * self.seconds)
        table.rows.extend(resident_growth(*settings))
        return table
