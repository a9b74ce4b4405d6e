"""ModernBERT's classes for tasks, both ways: scores, losses, gradients and folders are those of transformers."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.checkpoints.huggingface import from_huggingface, write_folder
from bert_lightning.checkpoints.huggingface.modernbert import MODERNBERT
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import check_state
from bert_lightning.finetuning.starting_weights import starting_state, trained_parts
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.multiple_choice import MultipleChoice
from bert_lightning.objectives.objective import weighted_loss
from bert_lightning.objectives.question_answering import AnswerableQuestionAnswering, QuestionAnswering
from bert_lightning.objectives.sequence_classification import SequenceClassification
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.objectives.token_classification import TokenClassification
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.answer_windows import END, START
from data_pipeline.tasks.encoded import LABELS, EncodedExamples, EncodedTargets
from tests.support.models import MODERN
from tests.support.parity import random_weights
from tests.support.task_batches import CONFIG, LENGTHS, encoded, first_rows, packed, padded

SIZES = replace(CONFIG, **MODERN, global_attn_every_n_layers=2)
NAMES = ["a", "b", "c"]
CLASSES = [2, 0, 1, 1, 0, 2]


@dataclass(frozen=True)
class Case:
    """A class of transformers, the same here, and examples with labels for both."""

    head: TaskHead
    objective: Callable[[EncoderConfig], TaskObjective]
    examples: EncodedExamples
    labels: dict[str, Tensor]
    choices: int = 1

    @property
    def kind(self) -> str:
        return MODERNBERT.tasks[self.head.kind].name

    def theirs(self) -> nn.Module:
        kind = getattr(transformers, self.kind)
        sizes = {theirs: getattr(SIZES, ours) for ours, theirs in MODERNBERT.fields.items()}
        layers = {"local_attention": 8, "global_attn_every_n_layers": 2, "embedding_dropout": 0.0}
        names = {"num_labels": 3, "id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
        about = names if self.head.labels else {}
        config = kind.config_class(**sizes | layers | about, problem_type=self.head.problem_type)
        return random_weights(kind(config))


def words() -> tuple[EncodedTargets, Tensor]:
    """A tag for the first token of each sequence, and its labels in rows."""
    rows = torch.full((len(LENGTHS), max(LENGTHS)), NO_LABEL)
    rows[:, 0] = torch.tensor(CLASSES)
    return first_rows(CLASSES), rows


CASES = [
    Case(
        TaskHead("sequence_classification", NAMES, "single_label_classification"),
        lambda config: SequenceClassification(config, 3),
        encoded({LABELS: first_rows(CLASSES)}),
        {"labels": torch.tensor(CLASSES)},
    ),
    Case(
        TaskHead("token_classification", NAMES),
        lambda config: TokenClassification(config, 3),
        encoded({LABELS: words()[0]}),
        {"labels": words()[1]},
    ),
    Case(
        TaskHead("multiple_choice"),
        lambda config: MultipleChoice(config, 3),
        encoded({LABELS: first_rows([2, NO_LABEL, NO_LABEL, 1, NO_LABEL, NO_LABEL])}, sequences_per_example=3),
        {"labels": torch.tensor([2, 1])},
        choices=3,
    ),
    Case(
        TaskHead("question_answering"),
        QuestionAnswering,
        encoded({START: first_rows([3] * 6), END: first_rows([3] * 6)}).take(np.array([4])),
        {"start_positions": torch.tensor([3]), "end_positions": torch.tensor([3])},
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.head.kind)


def their_output(case: Case, model: nn.Module) -> Any:
    """What the class returns for the examples; questions are one sequence without filler."""
    rows = padded(encoded({}))
    given = {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask}
    if case.head.kind == "question_answering":
        given = {name: each[4:5] for name, each in given.items()}
    if case.choices > 1:
        given = {name: each.view(-1, case.choices, each.shape[-1]) for name, each in given.items()}
    return model(**given, **case.labels)


def both(case: Case, folder: Path) -> tuple[nn.Module, TaskObjective, Pretrained]:
    model = case.theirs().eval()
    model.save_pretrained(folder)  # type: ignore[operator]
    pretrained = load_pretrained(folder)
    ours = case.objective(pretrained.config)
    ours.load_state_dict(pretrained.state, strict=True)
    return model, ours.eval(), pretrained


@each_case
def test_scores_losses_and_gradients_are_those_of_the_class(case: Case, tmp_path: Path) -> None:
    model, ours, pretrained = both(case, tmp_path)
    assert (pretrained.head, pretrained.config) == (case.head, SIZES)
    output, batch = their_output(case, model), packed(case.examples)
    sums, counts = ours(batch), ours.counts(batch)
    loss = weighted_loss(ours.quantities, sums, {name: 1 / float(counts[name]) for name in sums})
    torch.testing.assert_close(loss, output.loss, atol=1e-5, rtol=1e-5)
    scores = ours.scores(batch)
    if case.head.kind == "question_answering":
        expected = torch.stack([output.start_logits[0], output.end_logits[0]], -1)
    else:
        expected = (output.logits[:, 0] if output.logits.dim() == 3 else output.logits).reshape(-1, scores.shape[-1])
    torch.testing.assert_close(scores[: len(expected)], expected, atol=1e-5, rtol=1e-5)

    loss.backward()
    output.loss.backward()
    given = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    gradients = from_huggingface(given, SIZES, head=case.head, family=MODERNBERT)
    assert gradients.keys() == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


@each_case
def test_every_bit_comes_back(case: Case, tmp_path: Path) -> None:
    model, _, pretrained = both(case, tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", pretrained.config, pretrained.state, {}, pretrained.head)
    again, info = getattr(transformers, case.kind).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(each, again.state_dict()[name]) for name, each in model.state_dict().items())
    assert load_pretrained(tmp_path / "ours").head == case.head
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [case.kind]


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        (CASES[0], {"classifier_pooling": "mean"}, "has classifier_pooling='mean'; only 'cls' can be read"),
        (CASES[2], {"classifier_pooling": "mean"}, "has classifier_pooling='mean'; only 'cls' can be read"),
        (CASES[0], {"architectures": None}, "names none of its classes in architectures, and its tensors are those of"),
        (CASES[1], {"architectures": ["MyRanker"]}, "names none of its classes in architectures, and its tensors"),
        (CASES[0], {"classifier_bias": True}, "has classifier_bias=True; only False can be read"),
    ],
)
def test_heads_that_compute_something_else_are_refused(
    case: Case, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    both(case, tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=said):
        load_pretrained(tmp_path)


def test_a_mean_is_of_no_account_to_heads_of_tokens_and_to_pretraining(tmp_path: Path) -> None:
    both(CASES[1], tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"classifier_pooling": "mean"}))
    assert load_pretrained(tmp_path).head == CASES[1].head


@each_case
def test_a_task_begins_with_the_layers_before_the_scores_of_masked_tokens(case: Case, tmp_path: Path) -> None:
    pretraining = random_weights(MaskedLM(SIZES)).state_dict()
    write_folder(tmp_path, SIZES, pretraining, {})
    task = case.objective(SIZES)
    state = starting_state(load_pretrained(tmp_path), trained_parts(task))
    assert torch.equal(state["head.dense.weight"], pretraining["mlm_head.transform.weight"])
    assert torch.equal(state["head.norm.weight"], pretraining["mlm_head.norm.weight"])
    new = task.state_dict().keys() - state.keys()
    assert {name.partition(".")[0] for name in new} <= {"classifier", "qa_outputs"}
    again = starting_state(load_pretrained(tmp_path), trained_parts(task), reinit_layers=1)
    assert not any(name.startswith("head.") for name in again)
    theirs = getattr(transformers, case.kind).from_pretrained(tmp_path)
    assert torch.equal(theirs.head.dense.weight, state["head.dense.weight"])


@pytest.mark.parametrize("objective", [*(case.objective for case in CASES), AnswerableQuestionAnswering])
def test_a_head_reads_other_layers(objective: Callable[[EncoderConfig], TaskObjective]) -> None:
    task = objective(SIZES)
    task.read_layers(LayerReading((1, 2), "concat"))
    assert task.get_submodule("head.dense").in_features == 2 * SIZES.hidden_size


def test_a_fine_tuning_of_an_earlier_version_says_what_to_do() -> None:
    encoder = {f"encoder.{name}": each for name, each in Encoder(SIZES).state_dict().items()}
    bert = TaskHead("token_classification", NAMES).shapes(CONFIG)
    state = encoder | {name: torch.zeros(shape) for name, shape in bert.items()}
    with pytest.raises(ValueError, match=r"^old was fine-tuned by an earlier version, .*; fine-tune the encoder again"):
        check_state(state, SIZES, "old", TaskHead("token_classification", NAMES))
