"""The check that a setting has the type its user expects: `optimizer.lr=abc` is refused by name, at once.

Every group of a config that names a `_target_` is compared with the annotations of that class or function. A setting
without an annotation, or with one that says nothing about plain values, passes.
"""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}

FILLED_IN = {
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.precision",
    "objective.teacher",
}
"""Settings whose target does not take them as users write them, such as fp8 or a folder; others check them."""
UNKNOWN_YET = {"model.vocab_size", "schedule.max_steps", "trainer.max_steps", "callbacks.checkpoint.every_n_steps"}
"""Numbers that may be null, because the tokenizer or the length of a fine-tuning gives them."""
OURS = {"trainer.max_tokens"}
"""Settings that the target of their group does not have; they are taken out before it is made."""
COLLECTIONS = ("callbacks", "logger")
"""Groups of which every member is a group itself, or null, which leaves it out."""


def check_types(cfg: DictConfig, key: str = "") -> None:
    """Raise a ValueError for the first value of a config that its target does not take.

    Args:
        cfg: A config or a group of one.
        key: The path of `cfg` in the whole config, for the message.
    """
    _check_names(cfg, key)
    hints = _hints(cfg.get("_target_"))
    for name, value in ((str(name), cfg[name]) for name in cfg if not OmegaConf.is_missing(cfg, name)):
        path = f"{key}.{name}" if key else name
        if isinstance(value, DictConfig):
            check_types(value, path)
        elif value is not None and key in COLLECTIONS:
            raise ValueError(f"{path} must be a group, or null to leave it out; got {value}")
        elif path not in FILLED_IN and name in hints and not (value is None and path in UNKNOWN_YET):
            check_value(path, hints[name], value)


def check_value(path: str, hint: Any, value: Any) -> None:
    """Raise a ValueError if a setting does not fit an annotation.

    >>> check_value("truncate", bool, 5)
    Traceback (most recent call last):
    ...
    ValueError: truncate must be true or false; got 5
    """
    if not accepts(hint, value):
        raise ValueError(f"{path} must be {_in_words(hint) or 'a group of settings'}; got {value}")


def check_values(cfg: DictConfig, **hints: Any) -> None:
    """Raise a ValueError for the first setting of a config that does not fit its annotation."""
    for name, hint in hints.items():
        check_value(name, hint, cfg[name])


def _check_names(cfg: DictConfig, key: str) -> None:
    """Raise a ValueError for the first setting that the target of a group does not have."""
    target = cfg.get("_target_")
    try:
        parameters = inspect.signature(get_method(str(target))).parameters if key and target else {}
    except (HydraException, ImportError, TypeError, ValueError):
        return  # the target does not exist, or does not say what it takes
    if not parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    known_here = {*parameters, *(path.rpartition(".")[2] for path in OURS if path.rpartition(".")[0] == key)}
    if unknown := sorted(name for name in map(str, cfg) if name[0] != "_" and name not in known_here):
        known = ", ".join(name for name in parameters if name in cfg)
        raise ValueError(f"{key}.{unknown[0]}={cfg[unknown[0]]} is no setting of {target}; those that are set: {known}")


def _hints(target: Any) -> Mapping[Any, Any]:
    if not isinstance(target, str):
        return {}
    try:
        used = get_method(target)
        return typing.get_type_hints(getattr(used, "__init__") if isinstance(used, type) else used)  # noqa: B009
    except (HydraException, ImportError, NameError, TypeError, ValueError, AttributeError):
        return {}  # the target does not exist, or its annotations name what is not imported


def accepts(hint: Any, value: Any) -> bool:
    """Return whether a plain value fits an annotation; a whole number is a number, true is neither.

    >>> accepts(float, 1), accepts(int, 1.5), accepts(int | None, None), accepts(float, True)
    (True, False, True, False)
    >>> accepts(tuple[float, float], [0.9]), accepts(typing.Literal["a", "b"], "c"), accepts(Any, "x")
    (False, False, True)
    >>> accepts(Sequence[float], [1, 2.5]), accepts(list[float], [1, "high"]), accepts(Sequence[str], ["good", 2])
    (True, False, True)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(each, value) for each in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple and Ellipsis not in arguments:
        return _is_list(value) and len(value) == len(arguments) and all(map(accepts, arguments, value))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        of = next(iter(arguments), Any)  # names in a list may look like numbers, but numbers not like names
        return _is_list(value) and (of not in (int, float) or all(accepts(of, member) for member in value))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str)
    is_plain = value is None or _is_list(value) or isinstance(value, bool | int | float | str)
    # An object such as an optimizer is made from a config, never from a plain value.
    return not (is_plain and isinstance(hint, type) and hint not in (object, Any))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | ListConfig)


def _in_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_in_words(each) for each in arguments if _in_words(each)))
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin is tuple:
        return f"a list of {len(arguments)}"
    return _WORDS.get(hint, "a list" if origin is not None else "text" if hint is Path else "")
