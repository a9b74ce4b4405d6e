"""Pre-training of BERT encoders with Lightning: model, objectives, training and the commands.

    from bert_lightning import load_encoder, pack_texts

Both are imported when they are first used, so that importing the package is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_lightning.inference.loading import load_encoder
    from data_pipeline.streams.packed_texts import pack_texts

__version__ = "0.1.0"
__all__ = ["load_encoder", "pack_texts"]
_MODULES = {"load_encoder": "bert_lightning.inference.loading", "pack_texts": "data_pipeline.streams.packed_texts"}


def __getattr__(name: str) -> Any:
    """Return a public name out of its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
