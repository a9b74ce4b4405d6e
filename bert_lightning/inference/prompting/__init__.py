"""Tasks that a causal model is asked in words, without training (Radford et al., 2019; Brown et al., 2020)."""
