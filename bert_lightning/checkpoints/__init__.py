"""What is saved of a run and read back, and Hugging Face folders."""
