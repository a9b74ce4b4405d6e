"""What to type instead: messages of Hydra about keys and options that do not exist, in words that help."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from hydra._internal.utils import get_args_parser

from bert_lightning.settings.conf_files import CONF_DIR, ConfFile, Group, Setting
from bert_lightning.settings.help_page import chosen_groups
from bert_lightning.settings.typed_words import PATHS

NO_KEY = re.compile(r"Could not override '([^']+)'|Key '[^']+' is not in struct full_key: (\S+)")
NO_OPTION = re.compile(r"Could not find '([^']+)'")
NO_VALUE = re.compile(r"Missing mandatory value: (\S+)")
NO_CHOICE = re.compile(r"You must specify '([^']+)'")


def check_words(words: Sequence[str], command: str) -> None:
    """Check that the words of a command line are settings or options of Hydra.

    Args:
        words: Words of the command line, as a user types them.
        command: Name of the command's config, such as "pretrain".

    Raises:
        ValueError: naming the first word that has dashes before its key, or no key, and what to type.
    """
    given, refused = get_args_parser().parse_known_args(words)
    for word in refused:
        key, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            raise ValueError(f"{word} stands behind an option; type it before {_first_option(words)}")
        if re.fullmatch(r"[\w.@/]+", key):  # options of Hydra have hyphens, and its parser explains them
            below = words[words.index(word) + 1 :][:1]
            value = value if equals or not below or "=" in below[0] else below[0]
            raise ValueError(f"{word}: settings have no dashes; type {_typed(key, value or '<value>')}")
    for word in given.overrides:
        if not word.startswith("~") and ("=" not in word or word[0] in "./"):
            raise ValueError(_as_setting(word, command))


def _first_option(words: Sequence[str]) -> str:
    return next(word for word in words if word.startswith("-"))


def _as_setting(word: str, command: str) -> str:
    """Return what to type for a word without a key: the key itself if it is one, else that of the command's example."""
    file = ConfFile(Path(CONF_DIR) / f"{command}.yaml")
    if word in {each.name for each in file.settings()} | {group.key for group in chosen_groups(file, [])}:
        return f"{word} has no value: settings are typed as key=value, such as {word}=<value>"
    examples = (part.partition("=")[0] for line in file.head if line.startswith(" ") for part in line.split())
    key = next((key for key in examples if key.rpartition(".")[2] in PATHS), None)
    said = f"such as {_typed(key, word)}" if key else f"and {_help_of(command)} shows them"
    return f"{word} has no key: settings are typed as key=value, {said}"


def _typed(key: str, value: str) -> str:
    return f"{key}={value if value == '<value>' else shlex.quote(value)}"


def _help_of(command: str) -> str:
    return f"bert-{command.replace('_', '-')} --help"


def in_our_words(message: str, command: str, words: Sequence[str]) -> str:
    """Return a message of Hydra as one that names what exists, or the message itself if it says nothing of the kind.

    Args:
        message: The message in one line.
        command: Name of the command's config, such as "pretrain".
        words: Words of the command line.
    """
    file = ConfFile(Path(CONF_DIR) / f"{command}.yaml")
    groups = [*chosen_groups(file, words), _sweeper(words)]
    help_of = _help_of(command)
    if match := NO_OPTION.search(message):
        group = next((group for group in groups if match[1].startswith(f"{group.name}/")), None)
        return message if group is None else _no_option(group, match[1].removeprefix(f"{group.name}/"))
    if match := NO_CHOICE.search(message):
        return _no_choice(match[1], groups, help_of)
    if match := NO_KEY.search(message):
        return _no_key(match[1] or match[2], file, groups, help_of)
    if match := NO_VALUE.search(message):
        return _no_value(match[1], file, groups)
    return message


def _sweeper(words: Sequence[str]) -> Group:
    """Return the group of what --multirun does, which is Hydra's and not among those that a config names."""
    option = next((word.partition("=")[2] for word in words if word.startswith("hydra/sweeper=")), None)
    return Group("hydra/sweeper", "hydra.sweeper", option)


def _no_value(key: str, file: ConfFile, groups: Iterable[Group]) -> str:
    known = {each.name: each for settings in (file.settings(), *map(_settings, groups)) for each in settings}
    about = known[key].comment if key in known else ""
    return f"{key} must be given{f': {about}' if about else ''}"


def _no_option(group: Group, option: str) -> str:
    nearest = _did_you_mean(option, group.options, f"{group.name}=")
    return f"there is no {group.name}={option}{nearest}; there are {', '.join(group.options)}"


def _no_choice(name: str, groups: Iterable[Group], help_of: str) -> str:
    group = next(group for group in groups if group.name == name)
    return f"{name} must be given: {name}=<option> with one of {', '.join(group.options)}; {help_of} tells them apart"


def _no_key(key: str, file: ConfFile, groups: Sequence[Group], help_of: str) -> str:
    """Return which option has the key, or which key is nearest."""
    for group in groups:
        if key.startswith(f"{group.package}."):
            having = [option for option in group.options if key in _names(replace(group, option=option))]
            if having and group.option not in having:
                taken = (
                    f"{group.key}={group.option} has no setting {key}" if group.option else f"{key} needs {group.key}"
                )
                return f"{taken}; it is a setting of {', '.join(f'{group.key}={option}' for option in having)}"
    known = {each.name for each in file.settings()} | {group.key for group in groups}
    known |= {each.name for group in groups for each in _settings(group) if "${" not in (each.value or "")}
    if key in known:
        return f"{key} has no such keys of its own; a + before it adds them: '+{key}={{...}}'"
    return f"there is no setting {key}{_did_you_mean(key, known)}; {help_of} shows all"


def _settings(group: Group) -> list[Setting]:
    """Return the settings of the option that is taken."""
    file = group.file(group.option) if group.option in group.options else None
    return [] if file is None or file.is_global else file.settings(group.package)


def _names(group: Group) -> set[str]:
    return {each.name for each in _settings(group)}


def _did_you_mean(typed: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the name that is nearest to what was typed, as a question; nothing if none is near."""
    near = _nearest(typed, sorted(known, key=lambda name: (name.startswith("hydra"), name)))
    return f": did you mean {prefix}{near}?" if near else ""


def _nearest(typed: str, known: Sequence[str]) -> str | None:
    """Return a name with the same end, else one like the typed one beside it, else one like it anywhere."""
    head, _, last = typed.rpartition(".")
    beside = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == head}
    same_end = [name for name in known if name.rpartition(".")[2] == last]
    candidates = [*same_end, *(beside[name] for name in get_close_matches(last, beside, 1, 0.6))]
    candidates += get_close_matches(typed, known, 1, 0.8)
    return candidates[0] if candidates else None
