"""How documents become training examples: one module a format, chosen by the `pairs` config group."""
