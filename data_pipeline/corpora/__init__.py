"""Readers turn files into documents: one module for each kind of source."""
