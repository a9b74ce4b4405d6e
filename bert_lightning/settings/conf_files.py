"""What the YAML files in conf/ say about themselves: settings with their values and comments, groups and options.

`--help` shows it, and messages about wrong keys use it. Hydra is not needed for that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = str(next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir()))
"""Folder of the configs: inside the package once installed, beside it in a checkout."""
NOT_SHOWN = ("defaults", "hydra", "_target_", "_partial_", "_convert_", "_recursive_")
_GROUP = re.compile(r"(?:optional )?(?P<group>[\w/]+)(?:@(?P<package>[\w.]+))?")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a config file.

    Attributes:
        name: The key, with dots.
        value: Its value as it is written; None for a heading, under which other keys stand.
        comment: What the file says about it.
    """

    name: str
    value: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group of which a config takes one option.

    Attributes:
        name: Folder of the options in conf/.
        package: Where the settings of the option stand in the config.
        option: The option that is taken unless another one is asked for; None for none.
    """

    name: str
    package: str
    option: str | None

    @property
    def key(self) -> str:
        """What a user types before the equals sign."""
        return self.name if self.package == self.name.replace("/", ".") else f"{self.name}@{self.package}"

    @property
    def options(self) -> list[str]:
        """The names of the options, those in folders of the group too."""
        folder = Path(CONF_DIR) / self.name
        return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))

    def file(self, option: str | None) -> "ConfFile":
        """Return the file of an option."""
        return ConfFile(Path(CONF_DIR) / self.name / f"{option}.yaml")


@dataclass(frozen=True)
class ConfFile:
    """A config file.

    Attributes:
        path: The file.
    """

    path: Path

    @cached_property
    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _root(self) -> yaml.MappingNode:
        root = yaml.compose(self._text, Loader=yaml.SafeLoader)
        return root if isinstance(root, yaml.MappingNode) else yaml.MappingNode("", [])

    @cached_property
    def head(self) -> list[str]:
        """The lines of the comment with which the file begins; examples are indented."""
        lines = [line.rstrip() for line in self._text.splitlines()]
        comment = lines[: next((row for row, line in enumerate(lines) if not line.startswith("#")), len(lines))]
        return [line.removeprefix("#").removeprefix(" ") for line in comment if not line.startswith("# @package")]

    @property
    def summary(self) -> str:
        """The first sentence of the comment with which the file begins."""
        text = " ".join(line for line in self.head if not line.startswith(" "))
        return re.split(r"(?<=[.?!]) (?=[A-Z])", text)[0]

    @property
    def is_global(self) -> bool:
        """Whether the settings stand at the root of the config, as those of experiments do."""
        return self._text.startswith("# @package _global_")

    def settings(self, package: str = "") -> list[Setting]:
        """Return the settings of the file and of the options that it is built upon, below a package."""
        inherited: dict[str, Setting] = {}
        for option, below in self._inherited():
            settings = ConfFile(self.path.with_stem(option)).settings(".".join(filter(None, (package, below))))
            inherited |= {each.name: each for each in settings}
        prefix = f"{package}." if package else ""
        return list((inherited | {each.name: each for each in self._settings(self._root, prefix)}).values())

    def groups(self) -> list[Group]:
        """Return the groups of which the file takes one option."""
        groups = []
        for entry in self._defaults():
            if isinstance(entry, yaml.MappingNode) and (match := _GROUP.fullmatch(entry.value[0][0].value)):
                option = entry.value[0][1].value
                name = match["group"]
                groups.append(Group(name, match["package"] or name, None if option == "null" else option))
        return groups

    def _defaults(self) -> list[yaml.Node]:
        return next((value.value for key, value in self._root.value if key.value == "defaults"), [])

    def _inherited(self) -> list[tuple[str, str]]:
        """Return the options that the file is built upon, and where their settings stand."""
        names = [entry.value for entry in self._defaults() if isinstance(entry, yaml.ScalarNode)]
        parts = [name.partition("@") for name in names if name != "_self_"]
        return [(option, package) for option, _, package in parts]

    def _settings(self, node: yaml.MappingNode, prefix: str) -> Iterator[Setting]:
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if key.value in NOT_SHOWN:
                continue
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                if comment := self._comment(key.end_mark):
                    yield Setting(name, None, comment)
                yield from self._settings(value, f"{name}.")
            else:
                written = self._text[value.start_mark.index : value.end_mark.index].strip()
                yield Setting(name, written, self._comment(value.end_mark))

    def _comment(self, mark: yaml.Mark) -> str:
        """Return the comment behind a place in the file, and its continuation in the lines below."""
        first, *others = self._text.splitlines()[mark.line :]
        column = first.find("#", mark.column)
        if column < 0:
            return ""
        comment = [first[column + 1 :].strip()]
        for line in others:
            stripped = line.strip()
            if not stripped.startswith("#") or line.index("#") < column - 1:
                break
            comment.append(stripped.removeprefix("#").strip())
        return " ".join(comment)
