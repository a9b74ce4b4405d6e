"""Formats of training examples: one module for each, chosen by the config group `pairs`."""
