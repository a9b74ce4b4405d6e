"""The overrides that make a run a trial: its name, its resume, and the callback that reports to the study."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bert_lightning.settings.sweep_folder import SweepFolder, trial_name


def as_trial(folder: SweepFolder, report: Mapping[str, Any], run_name: str, number: int, first_seed: int) -> list[str]:
    """Return the overrides that make a run a trial.

    Where the study is kept is not among them, because the address may have a password: the trial reads it from the
    folder of the search.

    Args:
        folder: Folder of the search.
        report: Settings of the callback that are the same for every trial.
        run_name: Name of the search.
        number: Number of the trial.
        first_seed: Seed of its first run.
    """
    settings = {"sweep_dir": str(folder.path), "number": number, "first_seed": first_seed, **report}
    words = ",".join(f"{key}:{in_hydras_words(value)}" for key, value in settings.items())
    target = "_target_:bert_lightning.callbacks.trial.TrialReport"
    return [
        f"run_name={in_hydras_words(f'{run_name}/{trial_name(number)}')}",
        "resume=auto",
        f"+callbacks.trial={{{target},seed:${{seed}},{words}}}",
    ]


def by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Return the values of overrides by their keys; one that removes a key has an empty value.

    >>> by_key(["a=1", "~b"])
    {'a': '1', '~b': ''}
    """
    return {key: value for key, _, value in (each.partition("=") for each in overrides)}


def as_override(key: str, value: Any) -> str:
    """Return a parameter of a sweeper as an override; a text is in Hydra's words already.

    >>> as_override("a", "choice(1,2)"), as_override("a", None), as_override("a", {"b": [1]}), as_override("~a", None)
    ('a=choice(1,2)', 'a=null', 'a={b:[1]}', '~a')
    """
    if key[0] == "~" and value is None:
        return key
    return f"{key}={value if isinstance(value, str) else in_hydras_words(value)}"


def in_hydras_words(value: Any) -> str:
    r"""Return a plain value as the grammar of Hydra's overrides has it.

    >>> print(in_hydras_words({"a": [1, None, True], "b": "it's"}))
    {a:[1,null,true],b:'it\'s'}
    >>> print(in_hydras_words(r"C:\a\\b"), in_hydras_words("\\"))
    'C:\a\\b' '\\'
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_hydras_words(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(in_hydras_words, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)'", r"\1\1\'", value)  # Hydra reads a backslash as one unless a quote follows
        trailing = len(escaped) - len(escaped.rstrip("\\"))
        return f"'{escaped}{escaped[len(escaped) - trailing :]}'"
    return str(value)
