"""Knowledge beside the text: entities that links name, graphs of concepts, and what they say about examples."""
