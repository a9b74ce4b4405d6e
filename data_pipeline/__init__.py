"""Text in, batches out: readers, tokenizers, shards, and the stream of packed batches."""
