"""What has changed between the settings that a checkpoint was made with and those that a run goes on with.

A change acts, and is said; or it cannot act any more, which is said too; or it is refused. The two tables here say
which. What decides the stream of examples, the sizes of the model and its targets is refused elsewhere, by comparing
the stream and the model themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import shown

REFUSED = {
    "optimizer._target_": "the moments of one optimizer are of no use to another",
    "optimizer.amsgrad": "the checkpoint has the moments for the other value",
    "optimizer.centered": "the checkpoint has the moments for the other value",
}
"""Settings that a run cannot go on with if they change, and why."""
_WEIGHTS = "no effect: the weights are those of the checkpoint"
REMARKS = {
    "model.initializer_range": _WEIGHTS,
    "model.initialization": _WEIGHTS,
    "model.pad_token_id": _WEIGHTS,
    "init_from": _WEIGHTS,
    "data.global_batch_size": "the order of the examples stays, the batches differ",
}
"""What else there is to say of a change."""
NAMES_OF_THE_RUN = ("resume", "run_name", "output_dir", "run_dir", "seeds")
"""Settings that say where a run lies and how it goes on; they and what is derived from them are not compared."""
LAST_PHASE = ("data.seq_len", "data.global_batch_size", "data.micro_batch_size")
"""Settings that are those of the last phase if there are phases, which are compared themselves."""
_ABSENT = "not set"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting with another value.

    Attributes:
        name: Its path in the config, such as `optimizer.lr`.
        was: The value in the checkpoint.
        now: The value in the present settings.
    """

    name: str
    was: str
    now: str

    def __str__(self) -> str:
        remark = f" ({REMARKS[self.name]})" if self.name in REMARKS else ""
        return f"{self.name} was {self.was}, is {self.now}{remark}"


def flat_settings(text: str) -> dict[str, str]:
    r"""Return the settings of a YAML text in words, by their paths.

    >>> flat_settings("optimizer: {lr: 0.001}\nphases: null")
    {'optimizer.lr': '0.001', 'phases': 'null'}
    """
    plain = OmegaConf.to_container(OmegaConf.create(text)) if text else {}
    return {name: "null" if value is None else str(value) for name, value in leaves(plain)}


def changed_settings(before: Mapping[str, Any], settings: DictConfig, where: str) -> list[Change]:
    """Return the settings that have changed; one that only follows another setting is not named besides it.

    Args:
        before: The settings in the checkpoint, all of them resolved; an empty mapping if it has none.
        settings: The present settings, with their interpolations.
        where: The checkpoint, for errors.

    Raises:
        ValueError: naming a setting that cannot change any more, and both values.
    """
    if not before:
        return []
    now: Any = OmegaConf.to_container(settings, resolve=True)
    written = dict(leaves(OmegaConf.to_container(settings, resolve=False)))
    ignored = NAMES_OF_THE_RUN + LAST_PHASE * bool(now.get("phases"))
    changes = [each for each in _differences(before, now, "") if each.name not in ignored]
    for change in changes:
        if change.name in REFUSED:
            reason = f"{change}, but {REFUSED[change.name]}"
            raise ValueError(f"{where}: {reason}; a new run with init_from takes its weights")
    derived = {name: text for name, text in written.items() if isinstance(text, str) and "${" in text}
    sources = {(each.was, each.now) for each in changes if each.name not in derived}
    return [
        change
        for change in changes
        if change.name not in derived
        or not ((change.was, change.now) in sources or any(name in derived[change.name] for name in NAMES_OF_THE_RUN))
    ]


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in a config that is not a group."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{name}.{key}" if name else str(key))


def _differences(before: Mapping[Any, Any], now: Mapping[Any, Any], group: str) -> Iterator[Change]:
    """Yield what differs between two groups; one that is in only one of them is one change."""
    for key in [*now, *(key for key in before if key not in now)]:
        name = f"{group}[{key}]" if isinstance(key, int) else f"{group}.{key}" if group else str(key)
        was, value = _by_number(before.get(key)), _by_number(now.get(key))
        if isinstance(was, Mapping) and isinstance(value, Mapping):
            yield from _differences(was, value, name)
        elif not _is_same(was, value):
            yield Change(printable(name), _text(before, key), _text(now, key))


def _by_number(value: Any) -> Any:
    """Return a list of groups as one group of them by their numbers; anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return dict(enumerate(value))
    return value


def _is_same(was: Any, now: Any) -> bool:
    """Return whether a value is still the same; what a checkpoint holds may be anything."""
    if isinstance(now, list):
        return isinstance(was, list) and len(was) == len(now) and all(map(_is_same, was, now))
    return isinstance(was, bool | int | float | str | None) and was == now


def _text(group: Mapping[str, Any], key: str) -> str:
    """Return a value as the command line has it, on one short line."""
    if key not in group:
        return _ABSENT
    value = group[key]
    if isinstance(value, Mapping):
        value = value.get("_target_", "a group")
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return printable(value[:200]) if isinstance(value, str) else shown(value)
