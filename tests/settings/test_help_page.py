"""--help shows every setting with its comment, and nothing is imported for it that takes time."""

import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings import doors
from bert_lightning.settings.conf_files import CONF_DIR, ConfFile, Group
from bert_lightning.settings.help_page import help_page

COMMANDS = sorted(path.stem for path in Path(CONF_DIR).glob("*.yaml"))
SCRIPTS = [script for script in metadata.entry_points(group="console_scripts") if script.value.startswith("bert_light")]


def keys_of(config: DictConfig, prefix: str = "") -> set[str]:
    """The keys of a composed config, with dots, without what Hydra alone reads."""
    keys = set()
    for key in config:
        value = config._get_node(key)
        if str(key).startswith("_") or key == "hydra":
            continue
        if isinstance(value, DictConfig) and value._content:
            keys |= keys_of(value, f"{prefix}{key}.")
        else:
            keys.add(f"{prefix}{key}")
    return keys


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_shown(command: str) -> None:
    overrides = ["corpus=text"] if command == "prepare" else ["task=sst2"] if command == "finetune" else []
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        config = compose(command, overrides)
    assert OmegaConf.is_dict(config)
    shown = {line.split()[0].split("=")[0] for line in help_page(command, overrides).splitlines() if line.strip()}
    missing = {key for key in keys_of(config) if not any(key == name or key.startswith(f"{name}.") for name in shown)}
    assert {key for key in missing if not key.startswith("validation.masking.")} == set()


def test_comments_and_values_stand_beside_their_keys(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(
        "# Does something. And more.\n#     do something\ndefaults:\n  - base@inner\n  - model: bert_mini\n"
        "  - optional pairs@x.pairs: null\n  - override hydra/job_logging: stdout\n  - _self_\n\n"
        "lr: 1.0e-4       # rate of learning,\n                 # in steps\nlist: [1, 2]\nempty:\n"
        "deep:            # about both\n  one: 'a # b'   # first\n  two: {x: 1}\n"
    )
    (tmp_path / "base.yaml").write_text("_target_: x\nwidth: 3  # of the base\n")
    file = ConfFile(tmp_path / "some.yaml")
    assert (file.summary, file.head[-1]) == ("Does something.", "    do something")
    assert [(each.name, each.value, each.comment) for each in file.settings("p")] == [
        ("p.inner.width", "3", "of the base"),
        ("p.lr", "1.0e-4", "rate of learning, in steps"),
        ("p.list", "[1, 2]", ""),
        ("p.empty", "", ""),
        ("p.deep", None, "about both"),
        ("p.deep.one", "'a # b'", "first"),
        ("p.deep.two", "{x: 1}", ""),
    ]
    assert file.groups() == [Group("model", "model", "bert_mini"), Group("pairs", "x.pairs", None)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str) -> None:
    page = help_page(command)
    assert page.startswith(f"bert-{command.replace('_', '-')} ")
    assert f"\n    bert-{command.replace('_', '-')} " in page
    assert all(len(line) <= 100 for line in page.splitlines() if "=" not in line and not line.startswith("    bert-"))


def test_every_option_says_what_it_is() -> None:
    for path in Path(CONF_DIR).glob("[!h]*/*.yaml"):
        assert ConfFile(path).summary, path


def test_an_option_that_is_asked_for_is_shown() -> None:
    assert "task.chosen_by=accuracy" in help_page("finetune", ["task=sst2"])
    assert "task.chosen_by=" not in help_page("finetune")
    assert "hidden_size=256" in help_page("pretrain", ["model=bert_mini"])


def test_scripts_open_the_commands() -> None:
    assert {script.name for script in SCRIPTS} >= {f"bert-{command.replace('_', '-')}" for command in COMMANDS}
    for script in SCRIPTS:
        module, name = script.value.split(":")
        assert module == doors.__name__
        assert callable(import_module(f"bert_lightning.{doors.MODULES.get(name, name)}").main)


def test_help_and_versions_are_answered_without_torch() -> None:
    program = (
        "import sys; sys.argv = ['bert-pretrain', sys.argv[1]]; from bert_lightning.settings.doors import pretrain\n"
        "pretrain(); assert not {'torch', 'hydra', 'lightning', 'numpy'} & set(sys.modules)"
    )
    for word, said in (("--help", "bert-pretrain trains"), ("--version", metadata.version("torch"))):
        answer = subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True)
        assert said in answer.stdout
    program = program.replace("pretrain", "report")
    answer = subprocess.run([sys.executable, "-c", program, "-h"], capture_output=True, text=True, check=True)
    assert "bert-report outputs/first outputs/second" in answer.stdout


def test_experiments_in_folders_are_listed() -> None:
    page = help_page("pretrain")
    assert "\n  ablations/masking_rate " in page
    assert "ablations/shared" not in page
    assert "\n  features " not in page  # it is of bert-finetune
