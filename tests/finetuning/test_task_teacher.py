"""bert-finetune with a teacher: a student learns its scores, keeps nothing of it, and resumes; wrong teachers."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.finetuning.task_teacher import check_head
from bert_lightning.metrics.metrics_log import read_columns
from data_pipeline.tasks.encoded import FIRST, LAST
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.finetuning.tiny_task import finetune_here, settings
from tests.support.settings import SIZES, Settings


def narrow_encoder(folder: Path, tokenizer: Tokenizer, vocab_size: int | None = None) -> Path:
    torch.manual_seed(1)
    sizes = SIZES | {"hidden_size": 16, "num_hidden_layers": 1}
    BertModel(BertConfig(vocab_size=vocab_size or tokenizer.get_vocab_size(), **sizes)).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> tuple[Path, Settings]:
    """A fine-tuned teacher, and settings of a student."""
    folder = tmp_path_factory.mktemp("taught")
    given = settings(folder, tokenizer)
    finetune_here(given | {"run_name": "teacher"})
    student = {"checkpoint": narrow_encoder(folder / "student", tokenizer), "teacher": folder / "runs" / "teacher"}
    return folder, given | student


def test_a_student_learns_the_scores_of_its_teacher(taught: tuple[Path, Settings]) -> None:
    folder, given = taught
    given = given | {"schedule": "constant"}
    finetune_here(given | {"run_name": "student"})
    run = folder / "runs" / "student" / "seed-0"
    columns = read_columns(run / "metrics.csv")
    assert columns["val/loss"][1] == columns["val/soft_loss"][1]
    assert columns["val/soft_loss"][1][-1] < columns["val/soft_loss"][1][0]
    state = load_pretrained(folder / "runs" / "student").state
    assert state["encoder.layers.0.output.weight"].shape[0] == 16
    assert not [name for name in state if "teacher" in name or "layers.1." in name]
    finetune_here(given | {"run_name": "stopped", "trainer.max_steps": 4})
    stopped = folder / "runs" / "stopped" / "seed-0"
    (stopped / "scores.json").unlink()
    finetune_here(given | {"run_name": "stopped", "resume": "auto"})
    end = read_columns(stopped / "metrics.csv")["val/soft_loss"][1][-1]
    assert end == pytest.approx(columns["val/soft_loss"][1][-1], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher": "nowhere"}, "teacher=nowhere: checkpoint=nowhere does not exist"),
        ({"teacher_weight": 0}, "teacher_weight must be a number above 0, up to 1; got 0"),
        ({"teacher_weight": "x"}, "teacher_weight must be a number; got x"),
        ({"teacher_temperature": 0}, "teacher_temperature must be a number above 0; got 0"),
        (
            {"task": "multilabel", "task.label": "classes"},
            "has a head for .*single_label_.*, the task has one for .*multi",
        ),
        ({"task.labels": "[good,bad]"}, "teacher=.* has the labels bad, good, the task has good, bad"),
    ],
    ids=str,
)
def test_a_teacher_that_does_not_fit_is_refused_by_name(
    taught: tuple[Path, Settings], change: Settings, said: str
) -> None:
    _, given = taught
    with pytest.raises(ValueError, match=said) as error:
        finetune_here(given | {"run_name": "wrong"} | change)
    assert "\n" not in str(error.value)


SINGLE_LABEL = "single_label_classification"


def test_a_teacher_that_reads_another_token_is_refused() -> None:
    first, last = (
        TaskHead("sequence_classification", ["bad", "good"], SINGLE_LABEL, extract=each) for each in (FIRST, LAST)
    )
    with pytest.raises(ValueError, match="teacher=gpt reads the tokens 'last', the model of this task reads 'first'"):
        check_head("gpt", last, first)
    check_head("gpt", last, last)


def test_a_teacher_without_a_head_is_refused(taught: tuple[Path, Settings]) -> None:
    _, given = taught
    with pytest.raises(ValueError, match="has no head of a task; give a model that bert-finetune has trained"):
        finetune_here(given | {"run_name": "wrong", "teacher": given["checkpoint"]})
