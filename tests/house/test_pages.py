"""The pages: links lead somewhere, the index has all of them, and every command that they show composes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.typed_words import quoted
from tests.support.checkout import ROOT
from tests.support.configs import compose_config

PAGES = sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")))
FIRST_HOUR = [ROOT / "README.md", *(ROOT / "docs" / name for name in ("your-own-text.md", "coming-from.md"))]
SEARCHED = re.compile(r"=(tag|interval|choice|range|int)\(")


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
    named = re.findall(r"`(docs/[\w/.-]+\.(?:md|py|sh))`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= set(
        re.findall(r"\(([\w-]+\.md)\)", index)
    )


def shown_commands(page: Path) -> Iterator[list[str]]:
    """The words of every line of a page that is indented as code and calls a command which takes settings."""
    for line in page.read_text().replace("\\\n", "").splitlines():
        if line.startswith("    bert-") and not line.startswith(("    bert-report", "    bert-lightning")):
            yield shlex.split(line, comments=True)


@pytest.mark.parametrize("page", FIRST_HOUR, ids=page_name)
def test_commands_compose(page: Path) -> None:
    """Keys and options exist; what a search searches has the key of a setting, and any value."""
    lines = list(shown_commands(page))
    assert len(lines) > 1
    for command, *words in lines:
        name = command.removeprefix("bert-").replace("-", "_")
        assert (Path(CONF_DIR) / f"{name}.yaml").exists(), command
        settings = [word for word in words if not word.startswith(("-", "hydra"))]
        searched = [SEARCHED.sub("=1 #", word).partition(" #")[0] for word in settings]
        compose_config(name, [quoted(word) for word in searched])
