"""What the links of a corpus say: the entities that are linked, the graph of their links, and their vectors."""
