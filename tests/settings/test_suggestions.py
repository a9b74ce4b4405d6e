"""A wrong key or option is answered with what exists; the messages are those that Hydra gives."""

from collections.abc import Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.suggestions import check_words, in_our_words


def composed(command: str, words: Sequence[str], missing: str | None) -> None:
    """Compose a config and read a value of it."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        config = compose(command, list(words))
        for name in (missing or "").split("."):
            config = config[name]


def said(command: str, *words: str, missing: str | None = None) -> str:
    """What is said about a command line that Hydra refuses, or about a value that is missing."""
    with pytest.raises((HydraException, OmegaConfBaseException)) as refused:
        composed(command, words, missing)
    return in_our_words(" ".join(str(refused.value).split()), command, words)


@pytest.mark.parametrize(("words", "meant"), [
    (["data.pth=x"], "data.pth: did you mean data.path?"),
    (["modle=bert_base"], "modle: did you mean model?"),
    (["lr=3"], "lr: did you mean optimizer.lr?"),
    (["max_steps=3"], "max_steps: did you mean trainer.max_steps?"),
    (["trainer.xyz=3"], "trainer.xyz; bert-pretrain --help shows all"),
    (["optimizer=muon", "optimizer.wieght_decay=3"], "optimizer.wieght_decay: did you mean optimizer.weight_decay?"),
])  # fmt: skip
def test_the_nearest_key_is_named(words: list[str], meant: str) -> None:
    assert f"there is no setting {meant}" in said("pretrain", *words)


def test_a_key_that_takes_no_new_ones_says_how_to_add_them() -> None:
    assert said("finetune", "task=glue", "task.recipe={epochs:2}").startswith(
        "task.recipe has no such keys of its own; a + before it adds them: '+task.recipe={...}'"
    )


def test_options_that_have_a_key_are_named() -> None:
    assert said("pretrain", "optimizer=muon", "optimizer.betas=[0,0]") == (
        "optimizer=muon has no setting optimizer.betas; "
        "it is a setting of optimizer=adamw, optimizer=lamb, optimizer=stable_adamw"
    )
    assert said("finetune", "task.text=x").startswith("task.text needs task; it is a setting of task=classification, ")


def test_the_nearest_option_is_named() -> None:
    message = said("pretrain", "model=bert_bse")
    assert message.startswith(
        "there is no model=bert_bse: did you mean model=bert_base?; there are albert_base, bert_base"
    )


def test_an_option_in_a_folder_is_found() -> None:
    message = said("pretrain", "experiment=ablations/maskin_rate")
    assert "experiment=ablations/maskin_rate: did you mean experiment=ablations/masking_rate?" in message
    assert "there is no hydra/sweeper=optna: did you mean hydra/sweeper=optuna?" in said(
        "pretrain", "hydra/sweeper=optna"
    )
    assert "'hydra/launcher/nothing'" in said("pretrain", "hydra/launcher=nothing")


SEARCH = "hydra/sweeper=optuna"


@pytest.mark.parametrize(("words", "meant"), [
    ([SEARCH, "hydra.sweeper.n_trails=8"], "hydra.sweeper.n_trails: did you mean hydra.sweeper.n_trials?"),
    ([SEARCH, "n_trials=8"], "n_trials: did you mean hydra.sweeper.n_trials?"),
    ([SEARCH, "hydra.sweeper.sampler.multivariat=1"],
     "hydra.sweeper.sampler.multivariat: did you mean hydra.sweeper.sampler.multivariate?"),
    ([SEARCH, "data.seed=1"], "data.seed: did you mean seed?"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_keys_of_a_sweeper_are_known(command: str, words: list[str], meant: str) -> None:
    words = ["task=sst2", *words] if command == "finetune" else words
    assert f"there is no setting {meant}" in said(command, *words)


def test_the_sweeper_that_has_a_key_is_named() -> None:
    assert said("pretrain", "hydra.sweeper.n_trials=8") == (
        "hydra.sweeper.n_trials needs hydra/sweeper; it is a setting of hydra/sweeper=optuna"
    )


def test_a_corpus_is_asked_for() -> None:
    assert said("prepare", "corpus.path=x").startswith("corpus must be given: corpus=<option> with one of bookcorpus, ")


def test_what_is_missing_is_explained() -> None:
    assert said("pretrain", missing="data.path").startswith("data.path must be given: folder written by bert-prepare")


@pytest.mark.parametrize(("command", "words", "message"), [
    ("prepare", ["corpus=text", "/my notes"], "/my notes has no key: .*, such as corpus.path='/my notes'"),
    ("pretrain", ["./a=b"], "./a=b has no key: .*, such as data.path=./a=b"),
    ("dashboard", ["x"], "x has no key: .*, and bert-dashboard --help shows them"),
    ("prepare", ["corpus", "books"], "corpus has no value: .*, such as corpus=<value>"),
    ("pretrain", ["--data.path=x"], "--data.path=x: settings have no dashes; type data.path=x"),
    ("pretrain", ["--max_steps", "5", "run_name=a"], "--max_steps: settings have no dashes; type max_steps=5"),
    ("pretrain", ["--lr"], "--lr: settings have no dashes; type lr=<value>"),
    ("pretrain", ["a=1", "--config-dir", "mine", "b=2"], "b=2 stands behind an option; type it before --config-dir"),
])  # fmt: skip
def test_words_that_are_no_settings_say_what_to_type(command: str, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_words(words, command)


def test_settings_and_options_of_hydra_are_left_to_it() -> None:
    check_words(
        ["-m", "seed=1,2", "~logger", "+a@b.c=d", "hydra/launcher=x", "a.text=x y", "b=", "--config-dir=m"], "prepare"
    )
    check_words(["--config-dri=mine"], "prepare")


def test_other_messages_stay() -> None:
    assert in_our_words("something else", "pretrain", []) == "something else"
