"""The encoder and its heads: plain modules on packed tokens."""
