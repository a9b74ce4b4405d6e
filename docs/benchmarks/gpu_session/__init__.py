"""What a GPU is asked in the few minutes that one is at hand: a queue of measurements, the first ones first."""
