"""A sample of the corpus that a model was trained on, as text again, to compare tokenizers on."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.prepared.storage import is_remote
from data_pipeline.tokenizers.tokenizer import tokenizer_sha256

SENTENCES = 500


def corpus_sample(settings: Mapping[str, Any], tokenizer: Tokenizer) -> list[str]:
    """Return sentences of the prepared folder of a run, decoded from its shards; none if it is not here any more.

    Args:
        settings: The settings of the run.
        tokenizer: The tokenizer of the run.
    """
    data = settings.get("data")
    path = data.get("path") if isinstance(data, Mapping) else None
    if not isinstance(path, str) or is_remote(path) or not Path(path).is_dir():
        return []
    try:
        folder = PreparedFolder(path)
        if folder.manifest.tokenizer_sha256 != tokenizer_sha256(tokenizer):
            return []
        entries = folder.manifest.splits.get("validation") or folder.manifest.splits["train"]
        (shard,) = folder.read(entries[:1])
    except (ValueError, OSError):  # a folder that has changed since is no reason not to export
        return []
    ends = shard.sentence_offsets[: SENTENCES + 1].tolist()
    tokens = [shard.tokens[begin:end].tolist() for begin, end in pairwise(ends)]
    return tokenizer.decode_batch(tokens)
