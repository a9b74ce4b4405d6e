"""Data pipelines that others use for masked language models, on the token ids of our examples."""

import tempfile
from collections.abc import Iterator
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any, cast

import webdataset as wds
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from bert_lightning.benchmarks.stream_speed import LOADED_AHEAD, Measure, Share, speed
from data_pipeline.processes.child_processes import serve_main_process
from data_pipeline.streams.packed_batch import MLM
from data_pipeline.streams.samples import PretrainingSamples

NUM_BATCHES = 64
DOCUMENTS_OF_A_TAR = 2000
SHUFFLE_BUFFER = 1000


def collator_speed(
    samples: PretrainingSamples, share: Share, num_workers: int, seconds: float, mask_prob: float
) -> Measure:
    """Return a measurement of transformers' collator on our examples, which lie in memory as lists of ids."""
    collate = DataCollatorForLanguageModeling(_tokenizer(samples), mlm_probability=mask_prob, seed=0)
    batches = list(islice(_plain_batches(samples, share), NUM_BATCHES))

    def measure() -> tuple[float, float]:
        loader: DataLoader[dict[str, Any]] = DataLoader(
            cast("Dataset[dict[str, Any]]", batches),
            batch_size=None,
            sampler=cycle(range(len(batches))),
            collate_fn=collate,
            num_workers=num_workers,
            prefetch_factor=LOADED_AHEAD if num_workers else None,
            worker_init_fn=serve_main_process,
        )
        return speed(iter(loader), _sizes, num_workers, seconds)

    return measure


def tar_speed(samples: PretrainingSamples, share: Share, seconds: float, mask_prob: float) -> Measure:
    """Return a measurement of webdataset as its guide shows it: a sample a document, decoded, shuffled, batched.

    A document is cut to its first `seq_len` tokens; the collator pads and masks. Reading is timed with collating.
    """
    folder = tempfile.TemporaryDirectory(prefix="bert-benchmark-")
    tar = Path(folder.name) / "documents.tar"
    _write_documents(samples, tar)
    tokenizer = _tokenizer(samples)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mask_prob, seed=0)
    body = samples.seq_len - 2

    def examples() -> Iterator[dict[str, Any]]:
        dataset = wds.WebDataset(str(tar), shardshuffle=False).shuffle(SHUFFLE_BUFFER, seed=0).decode().to_tuple("npy")
        for (ids,) in dataset.repeat():
            yield {"input_ids": [tokenizer.cls_token_id, *ids[:body].tolist(), tokenizer.sep_token_id]}

    def measure() -> tuple[float, float]:
        with_folder = folder  # lives as long as the measurement can be called
        assert Path(with_folder.name).is_dir()
        stream = examples()
        batches = iter(lambda: list(islice(stream, share.micro_batch_size)), [])
        return speed(map(collate, batches), _sizes, 0, seconds)

    return measure


def _sizes(batch: dict[str, Any]) -> tuple[int, int]:
    return int(batch["attention_mask"].sum()), batch["attention_mask"].numel()


def _plain_batches(samples: PretrainingSamples, share: Share) -> Iterator[list[dict[str, Any]]]:
    """Yield micro-batches of our examples, masks undone, as lists of ids."""
    for step in share.stream(samples):
        for batch in step:
            tokens, mlm = batch.tokens, batch.targets[MLM]
            ids = tokens.input_ids.clone()
            ids[mlm.positions[: mlm.count].long()] = mlm.labels[: mlm.count]
            ends = tokens.cu_seqlens[: batch.num_examples + 1].tolist()
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
