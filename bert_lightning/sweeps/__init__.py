"""Sweeps of bert-pretrain: the points with their folders, one process for each, and what has become of them."""
