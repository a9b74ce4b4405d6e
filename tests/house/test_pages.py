"""The pages: links lead somewhere, the index has all of them, and every command that they show composes."""

import re
import shlex
from collections.abc import Iterator
from math import prod
from pathlib import Path

import pytest
from omegaconf import DictConfig

from bert_lightning.settings.config import Processes
from bert_lightning.settings.phase_settings import check_phases, complete_phases
from bert_lightning.settings.typed_words import quoted
from tests.support.checkout import ROOT
from tests.support.configs import compose_config

PAGES = sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")))
STARTS = re.compile(
    r"--?(?:nnodes|nproc-per-node|nodes|ntasks-per-node)=(\d+)|launcher\.(?:nodes|tasks_per_node)=(\d+)"
)
CALLED = re.compile(r"    (?:[A-Z_]+=\S+ )*(?:(?:torchrun|srun|timeout) .*)?bert-(?!report|lightning)[a-z-]+ ")
NOT_WHOLE = ("...", "<")
"""What stands in lines that a reader has to complete."""
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
    """The words of every whole line that is indented as code and calls a command which takes settings."""
    for line in page.read_text().replace("\\\n", "").splitlines():
        if CALLED.match(line) and not any(mark in line for mark in NOT_WHOLE):
            yield shlex.split(line, comments=True)


def composed(words: list[str]) -> tuple[str, DictConfig]:
    """The name of a command and its settings; what is swept has its first value, what is searched has any."""
    start = next(number for number, word in enumerate(words) if word.startswith("bert-"))
    name = words[start].removeprefix("bert-").replace("-", "_")
    settings = [word for word in words[start + 1 :] if "=" in word and not word.startswith(("-", "hydra"))]
    settings = [SEARCHED.sub("=1 #", word).partition(" #")[0] for word in settings]
    if "--multirun" in words:
        settings = [word if word.endswith(("]", "}")) else word.partition(",")[0] for word in settings]
    return name, compose_config(name, [quoted(word) for word in settings])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_compose(page: Path) -> None:
    """Keys and options exist."""
    for words in shown_commands(page):
        composed(words)


def test_the_pages_show_many_commands() -> None:
    """So that the tests of lines are about lines."""
    assert sum(len(list(shown_commands(page))) for page in PAGES) > 60


def test_batches_can_be_dealt_to_the_processes_of_a_line() -> None:
    dealt = 0
    for words in shown_commands(ROOT / "docs" / "launching.md"):
        name, cfg = composed(words)
        processes = prod(int(nodes or tasks) for nodes, tasks in STARTS.findall(" ".join(words)))
        if name == "pretrain" and processes > 1:
            check_phases(complete_phases(cfg), Processes("gpu", processes, 1, launched=True))
            dealt += 1
    assert dealt > 2
