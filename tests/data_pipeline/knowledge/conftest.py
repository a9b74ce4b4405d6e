"""The prepared folder of a made-up wiki, shared by the tests of this room."""

from pathlib import Path

import pytest

from tests.data_pipeline.knowledge.linked_dump import Linked, prepare, write_dump


@pytest.fixture(scope="session")
def wiki(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Linked]:
    """A dump, and its links."""
    path = tmp_path_factory.mktemp("wiki") / "dump.xml"
    return path, write_dump(path)


@pytest.fixture(scope="session")
def linked_folder(wiki: tuple[Path, Linked], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared folder of the dump."""
    folder = tmp_path_factory.mktemp("linked") / "data"
    prepare(wiki[0], folder)
    return folder
