"""A prepared folder: what it holds, and how it is read from a disk or from elsewhere."""
