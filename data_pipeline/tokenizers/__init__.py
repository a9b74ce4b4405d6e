"""Tokenizers: trained, read from files, and written."""
