"""Settings: where they are, what is checked, how commands begin and end."""
