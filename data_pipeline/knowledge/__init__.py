"""Knowledge beside the text: graphs of concepts, and what they say about the examples of a task."""
