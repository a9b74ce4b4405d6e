"""Readers: one file a kind of source, each turning files into documents."""
