"""The processes that a program may use and the ones that it starts."""
