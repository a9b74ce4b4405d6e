"""Questions that a causal model answers in writing: prompts byte for byte, lines as transformers has them, scores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import HydraException
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from bert_lightning.evaluate import evaluate
from bert_lightning.inference.continuing import Continuer
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.prompting.written_answers import _end
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.special_tokens import special_tokens
from tests.support.causal_models import write_causal
from tests.support.runs import compose_here
from tests.support.settings import Settings

TEXT = "The king walks to the old town."
SOLVED = f"{TEXT}\nQ: Who walks?\nA: king\n\n"
WORDS = [f"{TEXT}\nQ: who\nA: the king\n\n", "the queen walks\n", "a: b.\n"] * 20


def squad(path: Path, questions: list[tuple[str, str | None]]) -> None:
    """Write questions over one text in the format of SQuAD; the answer None is that of an impossible question."""
    entries: list[dict[str, Any]] = [
        {
            "id": f"{path.stem}-{number}",
            "question": question,
            "answers": [] if answer is None else [{"text": answer, "answer_start": TEXT.index(answer)}],
            "is_impossible": answer is None,
        }
        for number, (question, answer) in enumerate(questions)
    ]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": TEXT, "qas": entries}]}]}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One question to train on, two to validate on."""
    squad(tmp_path / "train-v1.1.json", [("Who walks?", "king")])
    squad(tmp_path / "dev-v1.1.json", [("Where does he walk?", "the old town"), ("Which town?", "old")])
    return tmp_path


@pytest.fixture
def bpe() -> Tokenizer:
    return train_byte_bpe(WORDS, vocab_size=300)


@pytest.fixture
def model(tmp_path: Path, bpe: Tokenizer) -> PreTrainedModel:
    return write_causal(tmp_path / "gpt", bpe)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The lines that the model writes, to be filled by a test; the prompts that it read are appended."""
    lines: list[str] = []
    monkeypatch.setattr(Continuer, "line", lambda self, prompt, most: lines.pop(0))
    return lines


def scores_of(folder: Path, changes: Settings) -> dict[str, float]:
    given = {"checkpoint": folder / "gpt", "accelerator": "cpu", "task": "squad", "task.path": folder}
    try:
        return evaluate(compose_here("evaluate", given | {"task.max_answer_length": 8} | changes))["prompted"]
    except HydraException as error:
        raise error.__cause__ or error from None


def test_prompts_are_these_bytes(folder: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    read = Continuer.prompt
    monkeypatch.setattr(Continuer, "prompt", lambda self, text: seen.append(text) or read(self, text))
    found = scores_of(folder, {"prompting.shots": "[0,1]"})
    first, second = f"{TEXT}\nQ: Where does he walk?\nA:", f"{TEXT}\nQ: Which town?\nA:"
    assert seen == [first, second, SOLVED + first, SOLVED + second]
    metrics = {f"{shots}_shots_{name}" for shots in (0, 1) for name in ("exact_match", "f1", "cut")}
    assert set(found) == metrics | {"examples"}


def test_a_line_is_what_transformers_writes_up_to_a_line_break(
    tmp_path: Path, model: PreTrainedModel, bpe: Tokenizer
) -> None:
    """A line break gets the embedding of another token that the model writes, and the other way round."""
    start, sep = bpe.token_to_id("[CLS]"), special_tokens(bpe).sep
    breaks = [token for token in range(bpe.get_vocab_size()) if "\n" in bpe.decode([token])]
    prompt = [start, *bpe.encode(TEXT, add_special_tokens=False).ids]
    settings = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": [sep, *breaks]}

    def written() -> list[int]:
        return model.generate(torch.tensor([prompt]), **settings)[0, len(prompt) :].tolist()  # type: ignore[operator]

    first, *others = written()
    other = next(token for token in others if token not in (first, *prompt, *breaks))
    rows = model.get_input_embeddings().weight.data
    rows[[breaks[0], other]] = rows[[other, breaks[0]]]
    model.save_pretrained(tmp_path / "gpt")
    whole = written()
    assert whole[-1] == breaks[0]
    go_on = Continuer(load_model(tmp_path / "gpt", "cpu"))
    assert go_on.prompt(TEXT) == prompt
    assert go_on.line(prompt, 20) == bpe.decode(whole[:-1]).strip() != ""
    assert go_on.line(prompt, 1) == bpe.decode(whole[:1]).strip()


def test_scores_are_those_of_squad(folder: Path, model: PreTrainedModel, said: list[str]) -> None:
    said += ["The old town.", "new", "town", "the old"]
    found = scores_of(folder, {"prompting.shots": "[0,1]"})
    assert found["0_shots_exact_match"] == found["0_shots_f1"] == 0.5
    assert found["1_shots_exact_match"] == 0.5
    assert found["1_shots_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["examples"] == 2


def test_no_answer_has_a_text_of_its_own(folder: Path, model: PreTrainedModel, said: list[str]) -> None:
    squad(folder / "dev-v1.1.json", [("Where?", "the old town"), ("When?", None), ("Why?", None), ("Who?", "king")])
    squad(folder / "train-v1.1.json", [("How?", None)])
    with pytest.raises(ValueError, match=r"is impossible to answer, as in SQuAD .*; take task=squad_v2"):
        scores_of(folder, {})
    files = {"task": "squad_v2", "task.train": "train-v1.1.json", "task.validation": "dev-v1.1.json"}
    said += ["old town", "Unanswerable.", "the king", "unanswerable"]
    found = scores_of(folder, files)
    assert (found["0_shots_exact_match"], found["0_shots_has_answer_f1"]) == (0.5, 0.5)
    assert found["0_shots_no_answer_exact_match"] == 0.5
    said += ["nobody knows", "unanswerable", "Nobody knows", "king"]
    found = scores_of(folder, files | {"prompting.answers": "{no_answer: nobody knows}", "prompting.shots": "[1]"})
    assert (found["1_shots_no_answer_f1"], found["1_shots_has_answer_f1"]) == (0.5, 0.5)


def test_a_long_prompt_loses_its_beginning(folder: Path, model: PreTrainedModel, bpe: Tokenizer) -> None:
    assert _end([1, 5, 6, 7, 8], 3) == [1, 7, 8]
    assert _end([1, 5, 6], 3) == [1, 5, 6]
    squad(folder / "train-v1.1.json", [("Who walks to the old town?", "king")] * 2)
    squad(folder / "dev-v1.1.json", [("Where? " * 40, "the old town"), ("Who?", "king")])
    assert scores_of(folder, {"prompting.examples": 1})["examples"] == 1
    short, room = len(bpe.encode(f"{TEXT}\nQ: Who?\nA:").ids), 64 - 8
    assert short <= room
    found = scores_of(folder, {"prompting.shots": "[0,2]"})
    assert (found["0_shots_cut"], found["2_shots_cut"]) == (1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task.max_answer_length": 63}, r"task.max_answer_length=63 leaves no room for a prompt.*embeddings=64"),
        ({"prompting.shots": "[2]"}, "prompting.shots=2, but there are 1 training examples"),
        ({"split": "test"}, "split must be one of train, validation; got test"),
        ({"prompting.normalize": "none"}, "prompting.normalize=none compares .* task=squad are written"),
        ({"prompting.answers": "{no_answer: none}"}, "prompting.answers must be null, because every question has"),
        ({"prompting.template": "'{text}:'"}, r"prompting.template must have one or more of \{context\}, \{question\}"),
        (
            {"task": "squad_v2", "task.train": "train-v1.1.json", "prompting.answers": "{none: no}"},
            r"prompting.answers must be \{no_answer: <text>\} for task=squad_v2",
        ),
        (
            {"task": "squad_v2", "task.train": "train-v1.1.json", "prompting.answers": "{no_answer: '...'}"},
            r"prompting.answers must be \{no_answer: <text>\} for task=squad_v2",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(changes: Settings, message: str, folder: Path, model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=message):
        scores_of(folder, changes)
