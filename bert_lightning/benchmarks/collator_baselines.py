"""What others feed a masked language model with, on the token ids of our own examples."""

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import webdataset as wds
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from bert_lightning.benchmarks.stream_speed import Share
from data_pipeline.samples import PretrainingSamples

NUM_BATCHES = 64
DOCUMENTS_OF_A_TAR = 2000
SHUFFLE_BUFFER = 1000


def collator_speed(
    samples: PretrainingSamples, share: Share, seconds: float
) -> Callable[[], tuple[float, float, float]]:
    """Return a measurement of transformers' collator on our examples, which lie in memory as lists of ids."""
    tokenizer = _tokenizer(samples)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)
    batches = list(islice(_plain_batches(samples, share), NUM_BATCHES))

    def measure() -> tuple[float, float, float]:
        return _speed(_cycle(batches), collate, samples.seq_len, seconds)

    return measure


def tar_speed(samples: PretrainingSamples, share: Share, seconds: float) -> Callable[[], tuple[float, float, float]]:
    """Return a measurement of webdataset as its guide shows it: a sample a document, decoded, shuffled, batched.

    A document is cut to its first `seq_len` tokens; the collator pads and masks. Reading is timed with collating.
    """
    folder = tempfile.TemporaryDirectory(prefix="bert-benchmark-")
    tar = Path(folder.name) / "documents.tar"
    _write_documents(samples, tar)
    tokenizer = _tokenizer(samples)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)
    body = samples.seq_len - 2

    def examples() -> Iterator[dict[str, Any]]:
        dataset = wds.WebDataset(str(tar), shardshuffle=False).shuffle(SHUFFLE_BUFFER, seed=0).decode().to_tuple("npy")
        for (ids,) in dataset.repeat():
            yield {"input_ids": [tokenizer.cls_token_id, *ids[:body].tolist(), tokenizer.sep_token_id]}

    def measure() -> tuple[float, float, float]:
        with_folder = folder  # lives as long as the measurement can be called
        assert Path(with_folder.name).is_dir()
        stream = examples()
        batches = iter(lambda: list(islice(stream, share.micro_batch_size)), [])
        return _speed(batches, collate, samples.seq_len, seconds)

    return measure


def _speed(
    batches: Iterator[list[dict[str, Any]]], collate: Callable[..., Any], seq_len: int, seconds: float
) -> tuple[float, float, float]:
    """Return real tokens per second, those of rows padded to `seq_len`, and the share of padding computed."""
    for batch in islice(batches, 2):
        collate(batch)
    real = computed = examples = 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        batch = next(batches)
        collated = collate(batch)
        real += sum(len(example["input_ids"]) for example in batch)
        computed += collated["input_ids"].numel()
        examples += len(batch)
    return real / elapsed, examples * seq_len / elapsed, 1 - real / computed


def _cycle(batches: list[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    while True:
        yield from batches


def _plain_batches(samples: PretrainingSamples, share: Share) -> Iterator[list[dict[str, Any]]]:
    """Yield micro-batches of our examples, masks undone, as lists of ids."""
    for step in share.stream(samples):
        for batch in step:
            ids = batch.input_ids.clone()
            count = batch.num_predictions
            ids[batch.masked_positions[:count].long()] = batch.mlm_labels[:count]
            ends = batch.cu_seqlens[: batch.num_pairs + 1].tolist()
            yield [{"input_ids": ids[begin:end].tolist()} for begin, end in pairwise(ends)]


def _write_documents(samples: PretrainingSamples, tar: Path) -> None:
    """Write documents of the first shards as a tar with one array a sample."""
    written = 0
    with wds.TarWriter(str(tar)) as writer:
        for entry in samples.entries:
            shard = samples.folder.read([entry])[0]
            begins = shard.sentence_offsets[shard.document_offsets].tolist()
            for begin, end in pairwise(begins):
                writer.write({"__key__": f"{written:09d}", "npy": shard.tokens[begin:end]})
                written += 1
            if written >= DOCUMENTS_OF_A_TAR:
                return


def _tokenizer(samples: PretrainingSamples) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(samples.folder.tokenizer_dir / "tokenizer.json"),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
