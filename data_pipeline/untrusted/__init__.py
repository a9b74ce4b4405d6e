"""What others wrote, read with limits and printed without effect: files, JSON, fields, text."""
