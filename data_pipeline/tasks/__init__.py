"""From the files of a fine-tuning task to examples, and from examples to token ids."""
