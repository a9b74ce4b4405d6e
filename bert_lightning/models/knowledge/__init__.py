"""Models that read knowledge beside the text."""
