"""One optimizer step and what it needs."""
