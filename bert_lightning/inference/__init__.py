"""Using a model that is trained: its vectors, its scores on text, its answers."""
