"""part=finetune compares equals: the same losses, the same steps and weights, on packed and on padded examples."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.benchmarks.contestants import Ours
from bert_lightning.benchmarks.padded_tasks import PaddedTask
from bert_lightning.checkpoints.task_head import QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, TaskHead
from bert_lightning.objectives.question_answering import QuestionAnswering
from bert_lightning.objectives.sequence_classification import (
    MultiLabelClassification,
    SequenceClassification,
    SequenceRegression,
)
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.tasks.answer_windows import END, START
from data_pipeline.tasks.encoded import LABELS, EncodedTargets
from tests.support.checkout import run_command
from tests.support.checkpoints import write_checkpoint
from tests.support.task_batches import CONFIG, LENGTHS, encoded, first_rows, packed

CPU = torch.device("cpu")
SGD = partial(torch.optim.SGD, lr=0.1)


def labels_of_kind(problem_type: str) -> tuple[TaskObjective, TaskHead, dict[str, EncodedTargets]]:
    names = ["a", "b", "c"]
    if problem_type == "question_answering":
        targets = {START: first_rows([3, 30, 0, 0, 39, 2]), END: first_rows([5, 30, 0, 0, 39, 11])}
        return QuestionAnswering(CONFIG), TaskHead(QUESTION_ANSWERING), targets
    if problem_type == "regression":
        numbers = np.array([0.5, 2, -1, 3, 0, 1], dtype=np.float32).view(np.int32).tolist()
        head = TaskHead(SEQUENCE_CLASSIFICATION, ["score"], problem_type)
        return SequenceRegression(CONFIG), head, {LABELS: first_rows(numbers)}
    head = TaskHead(SEQUENCE_CLASSIFICATION, names, problem_type)
    if problem_type == "single_label_classification":
        return SequenceClassification(CONFIG, 3), head, {LABELS: first_rows([0, 2, 1, 1, 2, 0])}
    rows = first_rows([0] * len(LENGTHS))
    several = np.random.default_rng(1).integers(0, 2, 3 * len(LENGTHS)).astype(np.int32)
    return MultiLabelClassification(CONFIG, 3), head, {LABELS: EncodedTargets(rows.positions, several, rows.cu_rows)}


@pytest.mark.parametrize("row_length", [40, None])
@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_a_step_on_padded_rows_is_the_step_on_packed_ones(problem_type: str, row_length: int | None) -> None:
    torch.manual_seed(0)
    model, head, targets = labels_of_kind(problem_type)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = Ours("ours", model, SGD, is_half_precision=False)
    theirs = PaddedTask(CONFIG, head, state, row_length, "theirs", SGD, CPU, is_half_precision=False)
    batch = packed(encoded(targets))
    before = ours.evaluate(ours.prepare(batch))
    assert before == pytest.approx(theirs.evaluate(theirs.prepare(batch)), abs=1e-5)
    for each in (ours, theirs):
        each.step(each.prepare(batch))
    reached = theirs.state()
    assert reached.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(reached[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert ours.evaluate(ours.prepare(batch)) < before


def test_answers_are_named_as_transformers_names_them() -> None:
    """Its loss shares the softmax with filler inside rows, so only labels and inputs are compared."""
    model, head, targets = labels_of_kind("question_answering")
    theirs = PaddedTask(CONFIG, head, model.state_dict(), None, "theirs", SGD, CPU, is_half_precision=False)
    inputs = theirs.prepare(packed(encoded(targets)))
    assert inputs["start_positions"].tolist() == [3, 30, 0, 0, 39, 2]
    assert inputs["end_positions"].tolist() == [5, 30, 0, 0, 39, 11]
    assert inputs["attention_mask"].sum(1).tolist() == LENGTHS
    assert torch.isfinite(theirs.loss(inputs))


def write_task(folder: Path) -> Path:
    words = ["the king went home", "a small river", "the old house by the sea", "she saw them"]
    lines = [{"text": f"{words[row % 4]} {row}", "label": "even" if row % 2 == 0 else "odd"} for row in range(40)]
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_command_measures_speed_and_scores(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000001.ckpt", tokenizer, tmp_path / "tokenizer")
    words = ["part=finetune", "task=classification", f"task.path={write_task(tmp_path)}", "precision=32-true"]
    sizes = ["part.seq_len=32", "part.global_batch_size=8", "part.train_examples=24"]
    done = run_command("benchmark", *words, *sizes, f"checkpoint={tmp_path / 'run'}", "output=found.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    speed, pairs, scores, facts = json.loads((tmp_path / "found.json").read_text())["tables"].values()
    names = ["ours, packed", "transformers, padded to 32", "transformers, padded to the longest of a batch"]
    assert [row["who"] for row in speed] == [row["who"] for row in scores] == names
    assert [row["pairs"] for row in pairs] == [2, 2]
    assert all(row["lowest s"] <= row["epoch s"] <= row["highest s"] for row in speed)
    assert {row["fact"]: row["value"] for row in facts}["examples of an epoch"] == 24


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    done = run_command("benchmark", "part=finetune", cwd=tmp_path)
    assert done.returncode == 2
    assert "part=finetune needs task=<name>" in done.stderr
