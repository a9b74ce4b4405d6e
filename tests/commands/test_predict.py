"""bert-predict against transformers' classes and pipelines, for every head that speaks of texts, and wrong input."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertConfig, PreTrainedModel, pipeline

from bert_lightning.checkpoints.checkpoint import checkpoint_payload, load_pretrained
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.evaluate import evaluate
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.predict import predict
from data_pipeline.tokenizers.transformers_files import save_tokenizer, tokenizer_files
from tests.support.checkout import run_command
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.configs import compose_config
from tests.support.parity import reference_model

TEXTS = ["the king walks slowly .", "the old", "", "the river and the king walk to the old river: slowly."]
LABELS = ["negative", "neutral", "very positive"]


def write_reference(folder: Path, tokenizer: Tokenizer, kind: str, **settings: object) -> PreTrainedModel:
    """Write a folder of a class of transformers with random weights, and the tokenizer; return the model."""
    config = config_for(tokenizer)
    torch.manual_seed(1)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: number for number, name in enumerate(LABELS)}}
    model = getattr(transformers, kind)(BertConfig(**(config.as_dict() | names | settings)))
    model.bert.load_state_dict(reference_model(config).bert.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("classifier", "bert.pooler", "cls.seq")):
                parameter.normal_()
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return model.eval()


def predictions(folder: Path, *overrides: str) -> list[dict[str, object]]:
    """Run the command in this process on a file of all texts; return what it wrote."""
    (folder.parent / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    output = folder.parent / "out.jsonl"
    common = [f"checkpoint={folder}", f"output={output}"]
    predict(compose_config("predict", [*common, *(overrides or [f"input={folder.parent / 'in.jsonl'}"])]))
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("batch_tokens", [4, 4096])
def test_labels_are_those_of_the_pipeline(tmp_path: Path, tokenizer: Tokenizer, batch_tokens: int) -> None:
    folder = tmp_path / "hf"
    model = write_reference(folder, tokenizer, "BertForSequenceClassification")
    classify = pipeline("text-classification", model, tokenizer=AutoTokenizer.from_pretrained(folder), top_k=None)
    found = predictions(folder, f"input={tmp_path / 'in.jsonl'}", f"batch_tokens={batch_tokens}")
    assert [line["id"] for line in found] == ["0", "1", "2", "3"]
    for line, expected in zip(found, classify(TEXTS), strict=True):
        assert line["prediction"] == expected[0]["label"]
        assert line["probabilities"] == pytest.approx({each["label"]: each["score"] for each in expected}, abs=1e-5)


def test_several_labels_and_numbers_follow_the_problem_type(tmp_path: Path, tokenizer: Tokenizer) -> None:
    kind = {"problem_type": "multi_label_classification"}
    model = write_reference(tmp_path / "several", tokenizer, "BertForSequenceClassification", **kind)
    inputs = AutoTokenizer.from_pretrained(tmp_path / "several")(TEXTS[0], return_tensors="pt")
    expected = dict(zip(LABELS, model(**inputs).logits[0].sigmoid().tolist(), strict=True))
    line = predictions(tmp_path / "several")[0]
    assert line["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert line["prediction"] == [label for label, value in expected.items() if value > 0.5]
    one = {"id2label": {0: "score"}, "label2id": {"score": 0}, "problem_type": "regression"}
    model = write_reference(tmp_path / "number", tokenizer, "BertForSequenceClassification", **one)
    assert predictions(tmp_path / "number")[0]["prediction"] == pytest.approx(float(model(**inputs).logits), abs=1e-5)


def test_pairs_are_read_as_pairs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = write_reference(tmp_path / "hf", tokenizer, "BertForSequenceClassification")
    inputs = AutoTokenizer.from_pretrained(tmp_path / "hf")("the king", "the old river .", return_tensors="pt")
    expected = dict(zip(LABELS, model(**inputs).logits[0].softmax(-1).tolist(), strict=True))
    (line,) = predictions(tmp_path / "hf", "text='the king'", "text_pair='the old river .'")
    assert line["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_labels_of_words_are_those_of_their_first_pieces(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "hf"
    model = write_reference(folder, tokenizer, "BertForTokenClassification")
    tag = pipeline(
        "token-classification",
        model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        aggregation_strategy="none",
        ignore_labels=[],
    )
    for text, line in zip(TEXTS, predictions(folder), strict=True):
        starts = [each for each in tag(text) if not each["word"].startswith("##")] if text else []
        assert [(word["begin"], word["label"]) for word in line["prediction"]] == [
            (each["start"], each["entity"]) for each in starts
        ]
        assert [text[word["begin"] : word["end"]] for word in line["prediction"]] == [
            word["word"] for word in line["prediction"]
        ]
        scores = [each["score"] for each in starts]
        assert [word["probability"] for word in line["prediction"]] == pytest.approx(scores, abs=1e-5)


def test_a_pretrained_model_says_whether_the_second_text_follows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "hf"
    model = write_reference(folder, tokenizer, "BertForNextSentencePrediction")
    table = tmp_path / "in.csv"
    pairs = [("the king walks .", "the river"), ("the old king", "slowly .")]
    table.write_text("first,second\n" + "".join(f"{one},{other}\n" for one, other in pairs))
    found = predictions(folder, f"input={table}", "column=first", "pair_column=second")
    for (one, other), line in zip(pairs, found, strict=True):
        inputs = AutoTokenizer.from_pretrained(folder)(one, other, return_tensors="pt")
        follows, random = model(**inputs).logits[0].softmax(-1).tolist()
        assert line["probabilities"] == pytest.approx({"is_next": follows, "random_next": random}, abs=1e-5)
        assert line["prediction"] == ("is_next" if follows > random else "random_next")


def test_a_model_of_sentence_order_says_whether_two_texts_are_in_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer", MaskedLMWithSOP)
    (line,) = predictions(tmp_path / "x.ckpt", "text='the king'", "text_pair='walks'")
    assert set(line["probabilities"]) == {"in_order", "swapped"}
    assert sum(line["probabilities"].values()) == pytest.approx(1)


def test_a_fine_tuned_run_cuts_texts_as_it_was_trained(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Its checkpoint knows the head and data.seq_len; a longer text gives the prediction of its beginning."""
    write_reference(tmp_path / "hf", tokenizer, "BertForSequenceClassification")
    pretrained = load_pretrained(tmp_path / "hf")
    assert pretrained.head == TaskHead("sequence_classification", LABELS, "single_label_classification")
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    payload = checkpoint_payload(
        pretrained.config, pretrained.tokenizer_files, {"data": {"seq_len": 12}}, pretrained.head
    )
    saved = {f"objective.{name}": tensor for name, tensor in pretrained.state.items()}
    torch.save({"state_dict": saved, "global_step": 7, **payload}, tmp_path / "x.ckpt")
    (long,) = predictions(tmp_path / "x.ckpt", f"text='{'walks ' * 20}'")
    (short,) = predictions(tmp_path / "x.ckpt", f"text='{'walks ' * 10}'")
    assert long.pop("is_cut") is True
    assert long["probabilities"] == pytest.approx(short["probabilities"])
    assert "is_cut" not in predictions(tmp_path / "x.ckpt", f"text='{'walks ' * 20}'", "seq_len=30")[0]
    with pytest.raises(ValueError, match="text has more than seq_len=12 tokens; truncate=true cuts it"):
        predictions(tmp_path / "x.ckpt", f"text='{'walks ' * 20}'", "truncate=false")


@pytest.mark.parametrize(
    ("task", "refused", "given", "said"),
    [
        ({"text_pair": "answer"}, [], ["text_pair=walks"], "reads pairs of texts; give text_pair or pair_column"),
        (
            {"_target_": "bert_lightning.finetuning.glue_tasks.glue_task", "name": "rte"},
            [],
            ["text_pair=walks"],
            "reads pairs of texts",
        ),
        ({"text_pair": None}, ["text_pair=walks"], [], "reads single texts, not pairs"),
    ],
)
def test_texts_are_single_or_pairs_as_in_the_fine_tuning(
    tmp_path: Path, tokenizer: Tokenizer, task: dict[str, Any], refused: list[str], given: list[str], said: str
) -> None:
    write_reference(tmp_path / "hf", tokenizer, "BertForSequenceClassification")
    model = load_pretrained(tmp_path / "hf")
    payload = checkpoint_payload(model.config, tokenizer_files(tokenizer), {"task": task}, model.head)
    state = {f"objective.{name}": tensor for name, tensor in model.state.items()}
    torch.save({"state_dict": state, "global_step": 7, **payload}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=f"^text: the head of checkpoint=.*{said}"):
        predictions(tmp_path / "x.ckpt", "text='the king'", *refused)
    assert len(predictions(tmp_path / "x.ckpt", "text='the king'", *given)) == 1
    table = tmp_path / "labeled.csv"
    table.write_text(f"text,other,label\nthe king,walks,{LABELS[0]}\n")
    columns = {"refused": refused, "given": given}
    labeled = {each: ["labeled.text_pair=other"] if words else [] for each, words in columns.items()}
    command = ["checkpoint=" + str(tmp_path / "x.ckpt"), f"labeled.path={table}"]
    with pytest.raises(
        ValueError, match=r"labeled\.csv, line 2 is a (single text|pair of texts), but .* was trained on"
    ):
        evaluate(compose_config("evaluate", [*command, *labeled["refused"]]))
    assert evaluate(compose_config("evaluate", [*command, *labeled["given"]]))["labeled"]["examples"] == 1


def test_names_of_special_tokens_in_a_text_are_plain_text_as_in_fine_tuning(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_reference(tmp_path / "hf", tokenizer, "BertForTokenClassification")
    (line,) = predictions(tmp_path / "hf", "text='the [MASK] walks'")
    assert [word["word"] for word in line["prediction"]] == ["the", "[", "MASK", "]", "walks"]


def test_a_model_that_can_say_nothing_of_texts_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer", MaskedLM)
    with pytest.raises(ValueError, match=r"x\.ckpt has neither a head for pairs nor one of a task"):
        predictions(tmp_path / "x.ckpt", "text='the'")
    write_reference(tmp_path / "hf", tokenizer, "BertForQuestionAnswering", id2label={0: "a", 1: "b"}, label2id=None)
    with pytest.raises(ValueError, match=r"the model answers questions: give text=\.\.\. and question="):
        predictions(tmp_path / "hf", "text='the'")


@pytest.mark.parametrize(
    ("kind", "overrides", "said"),
    [
        (
            "BertForNextSentencePrediction",
            ["text=a"],
            "text: the head of checkpoint=hf reads pairs of texts; give text_",
        ),
        ("BertForTokenClassification", ["text=a", "text_pair=b"], "reads single texts, not pairs"),
        ("BertForTokenClassification", [], r"give either text=\.\.\. or input=<file>"),
        ("BertForTokenClassification", ["input=in.csv"], r"^column=text, but in\.csv, line 2 has no column 'text'; it"),
        (
            "BertForTokenClassification",
            ["input=in.txt", "pair_column=b"],
            r"^pair_column=b, but input=in\.txt is a file of",
        ),
        ("BertForTokenClassification", ["text=a", "output=no/out"], "output=no/out is in a folder that does not exist"),
        ("BertForTokenClassification", ["input=in.txt", "text_pair=b"], r"text_pair is the second text of text=\.\.\."),
        ("BertForTokenClassification", ["text=a", "pair_column=b"], "pair_column is a column of input=<file>"),
        ("BertForTokenClassification", ["text=a", "seq_len=0"], "seq_len must be a whole number, at least 8, or null"),
        ("BertForTokenClassification", ["text=a", "seq_len=4"], "seq_len must be a whole number, at least 8, or null"),
        ("BertForTokenClassification", ["text=a", "truncate=5"], "truncate must be true or false; got 5"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    overrides: list[str],
    said: str,
) -> None:
    write_reference(tmp_path / "hf", tokenizer, kind)
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("review\nthe king\n")
    Path("in.txt").write_text("the king\n")
    with pytest.raises(ValueError, match=said) as error:
        predict(compose_config("predict", ["checkpoint=hf", "output=out.jsonl", *overrides]))
    assert "\n" not in str(error.value)
    assert not [name for name in os.listdir() if "out" in name]


def test_the_command_prints_lines_that_do_not_act_on_the_terminal(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_reference(tmp_path / "hf", tokenizer, "BertForTokenClassification", id2label=dict(enumerate("a\u202eb")))
    done = run_command("predict", "checkpoint=hf", "text=the king, walks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\u202e" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
    done = run_command("predict", "checkpoint=nowhere", "text=the", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: checkpoint=nowhere does not exist\n")
