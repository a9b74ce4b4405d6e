"""What a model is trained on; one file each."""
