"""The list `phases` of the settings: checked, completed from the settings of the whole run, and made into `Phases`.

An entry has `steps`, or `share` as a share of trainer.max_steps; the last one may have neither and takes what is left.
What else an entry does not name, it takes from the groups data and masking.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from bert_lightning.settings.config import LEAST, Processes
from data_pipeline.masking.masking import LONGEST_EXAMPLE
from data_pipeline.streams.phases import Phase, Phases, micro_batches_of_a_rank
from data_pipeline.whole_numbers import check_whole_number

FROM_DATA = ("seq_len", "global_batch_size", "micro_batch_size")
"""Keys of an entry that are settings of the data group too."""
KEYS = ("steps", "share", *FROM_DATA, "mask_prob")
Entry = dict[str, Any]


def complete_phases(cfg: DictConfig) -> list[Entry]:
    """Return an entry for each phase with all of its settings; a run without phases has one.

    Args:
        cfg: Settings with `phases`, `data` and `trainer.max_steps`.

    Returns:
        Entries with steps, seq_len, global_batch_size and micro_batch_size, and mask_prob if it was given.

    Raises:
        ValueError: naming the key of an entry and its value.
    """
    defaults = {name: cfg.data[name] for name in FROM_DATA}
    max_steps = cfg.trainer.max_steps
    check_whole_number("trainer.max_steps", max_steps)
    if cfg.phases is None:
        return [{"steps": max_steps} | defaults]
    entries = _checked_entries(cfg.phases)
    steps = _steps_of(entries, max_steps)
    given = [{name: value for name, value in entry.items() if name not in ("steps", "share")} for entry in entries]
    return [{"steps": number} | defaults | entry for number, entry in zip(steps, given, strict=True)]


def check_phases(phases: Sequence[Mapping[str, Any]], processes: Processes, longest: int = LONGEST_EXAMPLE) -> None:
    """Check the sizes of complete entries against the processes and the model.

    Args:
        phases: What `complete_phases` returned.
        processes: The processes of the run.
        longest: `model.max_position_embeddings`.

    Raises:
        ValueError: naming the setting and what it contradicts.
    """
    for number, entry in enumerate(phases):
        group = f"phases[{number}]" if len(phases) > 1 else "data"
        micro_batches_of_a_rank(entry["global_batch_size"], entry["micro_batch_size"], processes.size, group)
        if longest < entry["seq_len"]:
            raise ValueError(f"{group}.seq_len={entry['seq_len']} is above model.max_position_embeddings={longest}")


def build_phases(settings: DictConfig) -> Phases:
    """Build the phases of a run, each with its masking; see `complete_phases`."""
    return Phases(tuple(_build(settings, entry) for entry in complete_phases(settings)))


def _build(settings: DictConfig, entry: Mapping[str, Any]) -> Phase:
    masks = {"mask_prob": entry["mask_prob"]} if "mask_prob" in entry else {}
    sizes = {name: entry[name] for name in FROM_DATA}
    return Phase(num_steps=entry["steps"], masking=instantiate(settings.masking, **masks), **sizes)


def _checked_entries(phases: Any) -> list[Entry]:
    """Return the entries as plain values, without those that are null."""
    listed: Any = OmegaConf.to_container(phases, resolve=True) if isinstance(phases, ListConfig) else None
    if not listed or not all(isinstance(entry, dict) for entry in listed):
        raise ValueError(f"phases must be null, or a list such as [{{seq_len: 128, share: 0.9}}, {{}}]; got {phases}")
    entries = [{key: value for key, value in entry.items() if value is not None} for entry in listed]
    for number, entry in enumerate(entries):
        _check_entry(entry, f"phases[{number}]")
    return entries


def _check_entry(entry: Entry, name: str) -> None:
    for key, value in entry.items():
        if key not in KEYS:
            raise ValueError(f"{name}.{key} is none of {', '.join(KEYS)}; got {value}")
        if key in ("share", "mask_prob"):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= 1:
                raise ValueError(f"{name}.{key} must be a number above 0, at most 1; got {value}")
        else:
            check_whole_number(f"{name}.{key}", value, LEAST.get(key, 1))
    if "steps" in entry and "share" in entry:
        raise ValueError(f"{name} has steps={entry['steps']} and share={entry['share']}; give one of them")


def _steps_of(entries: Sequence[Entry], max_steps: int) -> list[int]:
    """Return the steps of each phase, which together are those of the run; shares are rounded."""
    steps: list[int] = []
    for number, entry in enumerate(entries[:-1]):
        if "steps" not in entry and "share" not in entry:
            raise ValueError(f"phases[{number}] has neither steps nor share; only the last phase takes what is left")
        steps.append(entry.get("steps", round(entry.get("share", 0) * max_steps)))
    left, last = max_steps - sum(steps), entries[-1]
    if min([*steps, left]) < 1:
        raise ValueError(
            f"phases before the last one have {', '.join(map(str, steps))} steps, and every phase needs at least 1; "
            f"trainer.max_steps={max_steps}, which a share instead of steps follows"
        )
    asked = last["share"] * max_steps if "share" in last else last.get("steps", left)
    rounded_off = len(entries) if any("share" in entry for entry in entries) else 0
    if abs(asked - left) > rounded_off:
        raise ValueError(
            f"phases have {', '.join(map(str, [*steps, round(asked)]))} steps, {sum(steps) + round(asked)} together; "
            f"trainer.max_steps={max_steps}, which a share instead of steps follows"
        )
    return [*steps, left]
