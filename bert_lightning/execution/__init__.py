"""How a model runs, seen from outside: compiled, in fp8, on many processes."""
