"""Preparation of a corpus, from text to a prepared folder, in resumable tasks."""
