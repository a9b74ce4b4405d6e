"""The page of --help: what a command does, an example, and its settings with their comments in conf/."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bert_lightning.settings.conf_files import CONF_DIR, ConfFile, Group, Setting

COLUMN = 36
"""Width of the column of keys and values."""


def chosen_groups(file: ConfFile, words: Sequence[str]) -> list[Group]:
    """Return the groups of a command, with the options that the words of a command line choose."""
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    return [Group(group.name, group.package, chosen.get(group.key, group.option)) for group in file.groups()]


def help_page(command: str, words: Sequence[str] = (), width: int = 100) -> str:
    """Return the page about a command.

    Args:
        command: Name of its config, such as "pretrain".
        words: Words of the command line; settings are those of the options that they choose.
        width: Columns of the terminal.
    """
    file = ConfFile(Path(CONF_DIR) / f"{command}.yaml")
    own = file.settings()
    lines = [*_filled(file.head, width), "", "Settings are typed as key=value; those with ??? must be given.", ""]
    lines += _settings(own, width)
    shown: set[str] = set()
    for group in chosen_groups(file, words):
        if group.name in shown:
            lines += ["", f"{group.key}={group.option or ''}", f"  The same for {group.package}."]
        else:
            lines += ["", *_group(group, {each.name for each in own}, command, width)]
        shown.add(group.name)
    lines += ["", "--help group=option shows the settings of another option; --version names the versions."]
    return "\n".join(lines)


def _filled(head: Sequence[str], width: int) -> Iterator[str]:
    """Yield the sentences of a head, wrapped, and its examples as they are, set apart by empty lines."""
    sentences = " ".join(line for line in head if not line.startswith(" "))
    yield from textwrap.wrap(sentences, width)
    if examples := [line for line in head if line.startswith(" ")]:
        yield from ["", *examples]


def _group(group: Group, own: set[str], command: str, width: int) -> Iterator[str]:
    """Yield what there is to know about a group: its options, or the one that is taken with its settings."""
    is_option = group.option in group.options
    yield f"{group.key}={group.option if is_option else ''}"
    if not is_option:
        files = {option: group.file(option) for option in group.options}
        summaries = (
            Setting(option, "", file.summary)
            for option, file in files.items()
            if not file.is_global or any(f"bert-{command}" in line for line in file.head)
        )
        yield from _settings(summaries, width)
        return
    assert group.option is not None
    file = group.file(group.option)
    others = ", ".join(option for option in group.options if option != group.option)
    about = f"{file.summary} Others: {others}." if others else file.summary
    yield from textwrap.wrap(about, width, initial_indent="  ", subsequent_indent="  ")
    if not file.is_global:
        yield from _settings([each for each in file.settings(group.package) if each.name not in own], width)


def _settings(settings: Iterable[Setting], width: int) -> Iterator[str]:
    """Yield the lines of settings: key and value, and the comment beside or below them."""
    for each in settings:
        written = "  " + (f"{each.name}={each.value}" if each.value else each.name)
        beside = textwrap.wrap(each.comment, max(width - COLUMN, 30)) or [""]
        if len(written) >= COLUMN and each.comment:
            yield written
        else:
            yield f"{written:<{COLUMN}}{beside.pop(0)}".rstrip()
        yield from (f"{'':<{COLUMN}}{line}" for line in beside)
