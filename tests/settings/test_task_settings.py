"""The files of a task are one setting of it, made of the keys that users type."""

from pathlib import Path

import pytest
from hydra.utils import instantiate

from bert_lightning.finetuning.split_sources import SplitFiles
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.task_settings import FILE_KEYS, TRAINING_KEYS, known_settings
from tests.support.configs import compose_config

TASKS = sorted(path.stem for path in (Path(CONF_DIR) / "task").glob("*.yaml") if path.stem != "glue")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_takes_its_files(name: str) -> None:
    cfg = compose_config("finetune", [f"task={name}", "task.path=somewhere", "checkpoint=x"])
    known = known_settings(cfg.task)
    assert not {*FILE_KEYS, *TRAINING_KEYS} & set(known)
    assert instantiate(known.files).path == Path("somewhere")
    assert instantiate(known, _convert_="all").name == name


def test_keys_of_files_are_those_of_split_files() -> None:
    overrides = ["task.path=a", "task.train=b", "task.validation=c", "task.test=d", "task.validation_share=0.3"]
    cfg = compose_config("finetune", ["task=classification", *overrides, "checkpoint=x"])
    assert instantiate(known_settings(cfg.task).files) == SplitFiles(Path("a"), "b", "c", "d", 0.3)


def test_a_path_that_is_not_given_is_asked_for() -> None:
    cfg = compose_config("finetune", ["task=sst2", "checkpoint=x"])
    with pytest.raises(ValueError, match=r"^task\.path must be the folder or the file of the task"):
        known_settings(cfg.task)
