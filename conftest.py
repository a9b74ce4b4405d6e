"""Modules whose doctests cannot be collected on this machine; any other module that cannot be imported is an error."""

from importlib.util import find_spec

KERNELS = ["bert_lightning/models/attention_kernels.py", "bert_lightning/models/fused_attention.py"]
collect_ignore = [] if find_spec("triton") else KERNELS
