"""Pre-training of BERT encoders with Lightning: model, objectives, training and the commands."""

__version__ = "0.1.0"
