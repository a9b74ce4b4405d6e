"""The time of a training step, by kinds of work."""
