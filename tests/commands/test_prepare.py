"""bert-prepare: what its summary says about a corpus, and the commands that it ends with."""

from pathlib import Path

import pytest

from bert_lightning.prepare import FIRST_RUN, prepare
from bert_lightning.settings.conf_files import CONF_DIR, ConfFile
from tests.support.checkout import ROOT
from tests.support.configs import compose_config
from tests.support.corpora import write_corpus
from tests.support.runs import compose_here


def test_the_end_says_what_was_not_read_and_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, output = write_corpus(tmp_path / "text"), tmp_path / "my data"
    for name in ("a.csv", "b.html", "c.html"):
        (corpus / name).touch()
    settings = {"corpus": "text", "corpus.path": corpus, "output_dir": output}
    prepare(compose_here("prepare", settings | {"tokenizer.vocab_size": 120, "executor.workers": 1}))
    said = capsys.readouterr().out
    assert "text: 120 documents; license not stated; text files" in said
    left = [line.strip() for line in said.splitlines() if line.startswith("    ") and "read:" in line]
    assert left == ["not read: 1 *.csv (corpus=csv reads it)", "not read: 2 *.html"]
    assert said.endswith(f"bert-pretrain data.path='{output}' {FIRST_RUN}\n")


def test_the_first_run_is_the_same_line_everywhere_and_ends_within_minutes() -> None:
    line = f"    bert-pretrain data.path=data {FIRST_RUN}"
    assert line.strip() in map(str.strip, ConfFile(Path(CONF_DIR) / "pretrain.yaml").head)
    for page in ("README.md", "docs/your-own-text.md", "docs/launching.md"):
        assert line in (ROOT / page).read_text()
    settings = compose_config("pretrain", ["data.path=data", *FIRST_RUN.split()])
    assert settings.trainer.max_steps < 2000
    assert settings.model.num_hidden_layers == 2
