"""Files that commands write: a place where none can lie is refused before anything is read or measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.benchmark import benchmark
from bert_lightning.compare import compare
from bert_lightning.dashboard import dashboard
from bert_lightning.embed import embed
from bert_lightning.evaluate import evaluate
from bert_lightning.inspect_stream import inspect
from tests.support.configs import compose_config

PLACES = [
    ("benchmark", benchmark, "output", []),
    ("benchmark", benchmark, "chart", []),
    ("compare", compare, "output", ["first=a", "second=b"]),
    ("dashboard", dashboard, "output", ["project=a"]),
    ("embed", embed, "output", ["checkpoint=a", "text=a"]),
    ("evaluate", evaluate, "output", ["checkpoint=a", "data.path=a"]),
    ("inspect", inspect, "digests", ["data.path=a"]),
    ("inspect", inspect, "output", ["data.path=a"]),
    ("inspect", inspect, "output", ["tokenizer.path=a", "text=a"]),
]


@pytest.mark.parametrize(
    ("place", "said"), [("no/a.npy", "is in a folder that does not exist"), ("a.npy", "is a folder; name a file")]
)
@pytest.mark.parametrize(("name", "command", "setting", "words"), PLACES)
def test_a_file_without_a_place_is_refused_first(
    name: str, command: Callable[..., Any], setting: str, words: list[str], place: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(ValueError, match=rf"^{setting}=.*{said}"):
        command(compose_config(name, [*words, f"{setting}={tmp_path / place}"]))
