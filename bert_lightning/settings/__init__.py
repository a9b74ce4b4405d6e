"""Settings, their checks, the folder of a run, and how commands begin and end."""
