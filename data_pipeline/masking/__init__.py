"""Which tokens are predicted, and what is shown in their place."""
