"""bert-evaluate: a run's own validation, pseudo-log-likelihoods and ranks from one forward pass a mask, wrong input."""

import json
import logging
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForSequenceClassification

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.evaluate import evaluate
from bert_lightning.fill_mask import MaskFiller
from bert_lightning.inference.labeled_file import LabeledFile
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.minimal_pairs import score_pairs
from bert_lightning.inference.prompting.asking import Prompting
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.transformers_files import save_tokenizer, tokenizer_files
from tests.support.checkout import run_command
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.configs import compose_config
from tests.support.runs import run_here
from tests.support.settings import Settings

PAIRS = [
    ("the king walks slowly .", "the king walk slowly ."),
    ("the old river", "the old river"),
    ("the river and the king", "the river and and king"),
    ("the The OLD river", "the the old king"),
]
QUESTIONS = [("the [MASK] walks slowly .", "morning"), ("the old [MASK]", "house"), ("the [MASK] walks", "kings")]


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A Hugging Face folder with an MLM head and a next-sentence head."""
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer")
    folder = tmp_path / "hf"
    folder.mkdir()
    write_folder(folder, config_for(tokenizer), load_pretrained(tmp_path / "x.ckpt").state, tokenizer_files(tokenizer))
    return folder


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(*overrides: str) -> DictConfig:
    return compose_config("evaluate", ["data.num_workers=0", *overrides])


def pseudo_log_likelihood(folder: Path, text: str) -> float:
    """The sum over tokens of the log-probability of each when it alone is masked, by transformers, one at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    total = 0.0
    for position in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[0, position] = tokenizer.mask_token_id
        with torch.no_grad():
            total += float(model(masked).logits[0, position].log_softmax(-1)[ids[0, position]])
    return total


def test_held_out_scores_are_those_of_the_runs_own_validation(
    base: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_here(base | {"run_name": "a"})
    folder = Path(base["output_dir"]) / "a"
    columns = read_columns(folder / "metrics.csv")
    overrides = [f"data.{name}={base[f'data.{name}']}" for name in ("path", "cache_dir", "seq_len", "micro_batch_size")]
    scores = evaluate(settings(f"checkpoint={folder}", *overrides, f"output={tmp_path / 'scores.json'}"))["held_out"]
    validated = {name.removeprefix("val/"): values[-1] for name, (_, values) in columns.items() if "val/" in name}
    assert {"mlm_loss", "mlm_loss_per_byte", "perplexity", "nsp_accuracy"} <= set(validated)
    assert "in the model's run" not in caplog.text
    for name, value in validated.items():
        assert scores[name] == pytest.approx(value, abs=1e-6, rel=1e-6), name
    assert scores["examples"] > 10
    assert json.loads((tmp_path / "scores.json").read_text())["held_out"] == scores
    train = evaluate(settings(f"checkpoint={folder}", *overrides, "split=train"))["held_out"]
    assert train["examples"] > scores["examples"]


def test_other_settings_than_the_runs_are_said(base: Settings, caplog: pytest.LogCaptureFixture) -> None:
    run_here(base | {"run_name": "a"})
    caplog.set_level(logging.INFO)
    folder = Path(base["output_dir"]) / "a"
    overrides = [f"data.path={base['data.path']}", f"data.cache_dir={base['data.cache_dir']}"]
    different = ["data.seq_len=24", "data.validation_samples=4", "pairs=full_sentences"]
    evaluate(settings(f"checkpoint={folder}", *overrides, *different))
    assert "data.validation_samples is 4 here, and was" in caplog.text
    assert f"data.seq_len is 24 here, and was {base['data.seq_len']} in the model's run" in caplog.text
    assert "pairs._target_ is data_pipeline.pairs.sentence_runs.FullSentences here, and was" in caplog.text
    assert "pairs=FullSentences has no nsp labels: the pair head is left out" in caplog.text


def test_a_head_for_sentence_order_is_asked_about_sentence_order(
    tmp_path: Path, prepared: Path, tokenizer: Tokenizer
) -> None:
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer", MaskedLMWithSOP)
    common = (
        f"checkpoint={tmp_path / 'x.ckpt'}",
        f"data.path={prepared}",
        f"data.cache_dir={tmp_path}",
        "data.seq_len=32",
    )
    assert "sop_accuracy" in evaluate(settings(*common, "pairs=sentence_order"))["held_out"]
    assert not {"sop_accuracy", "nsp_accuracy"} & set(evaluate(settings(*common))["held_out"])


@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_minimal_pairs_are_decided_as_with_one_mask_at_a_time(folder: Path, tmp_path: Path, batch_tokens: int) -> None:
    path = write_rows(tmp_path / "p.jsonl", *({"sentence_good": good, "sentence_bad": bad} for good, bad in PAIRS))
    expected = [[pseudo_log_likelihood(folder, text) for text in pair] for pair in PAIRS]
    found = list(score_pairs(path, load_model(folder, "cpu"), batch_tokens))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.good, ours.bad) == pytest.approx(theirs, abs=1e-4)
    scores = evaluate(settings(f"checkpoint={folder}", f"minimal_pairs={path}", f"batch_tokens={batch_tokens}"))
    right = sum(good > bad for number, (good, bad) in enumerate(expected) if number != 1)
    assert scores == {"minimal_pairs": {"accuracy": right / 4, "pairs": 4, "ties": 1}}


def test_cloze_ranks_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "c.jsonl", *({"text": text, "answer": answer} for text, answer in QUESTIONS))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert len(tokenizer.tokenize("kings")) > 1
    ranks = []
    for text, answer in QUESTIONS[:2]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            scores = model(ids).logits[0, (ids[0] == tokenizer.mask_token_id).nonzero()[0, 0]]
        ranks.append(int((scores > scores[tokenizer.convert_tokens_to_ids(answer)]).sum()) + 1)
    scores = evaluate(settings(f"checkpoint={folder}", f"cloze={path}"))["cloze"]
    expected = {f"hits@{most}": sum(rank <= most for rank in ranks) / 2 for most in (1, 5, 10)}
    assert scores == {**expected, "questions": 2, "left_out": 1}


def test_an_answer_is_among_as_many_guesses_as_its_rank_says(folder: Path, tmp_path: Path) -> None:
    """Every word of the vocabulary as the answer: exactly one is the first guess, five are among the first five."""
    text = QUESTIONS[0][0]
    guesses = [guess.token for guess in MaskFiller(folder)(text, top_k=1000)[0]]
    words = [guess for guess in guesses if guess.isalpha()]
    path = write_rows(tmp_path / "c.jsonl", *({"text": text, "answer": word} for word in words))
    scores = evaluate(settings(f"checkpoint={folder}", f"cloze={path}"))["cloze"]
    assert scores["questions"] == len(words) > 20
    for most in (1, 5, 10):
        expected = sum(word in guesses[:most] for word in words) / len(words)
        assert scores[f"hits@{most}"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("problem_type", "labels", "given"),
    [
        ("single_label_classification", ["bad", "good"], ["good", "bad", "bad", "good"]),
        ("single_label_classification", ["0", "1", "2"], [0, 2, 1, "2"]),
        ("multi_label_classification", ["bad", "good"], [["bad"], [], ["good", "bad"], ["good"]]),
        ("regression", ["LABEL_0"], [0.5, 1, -2.25, 3]),
    ],
)
def test_a_fine_tuned_model_is_scored_on_a_table(
    tmp_path: Path, tokenizer: Tokenizer, problem_type: str, labels: list[str], given: list[object]
) -> None:
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}
    torch.manual_seed(3)
    sizes = replace(config_for(tokenizer), initializer_range=0.3).as_dict()
    config = BertConfig(**sizes, **names, problem_type=problem_type)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "hf")
    save_tokenizer(tokenizer, tmp_path / "hf")
    texts = [good for good, _ in PAIRS]
    path = write_rows(tmp_path / "t.jsonl", *({"text": t, "label": g} for t, g in zip(texts, given, strict=True)))
    encoded = AutoTokenizer.from_pretrained(tmp_path / "hf")(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**encoded).logits.double().numpy()
    found = evaluate(settings(f"checkpoint={tmp_path / 'hf'}", f"labeled.path={path}", "batch_tokens=16"))["labeled"]
    assert found.pop("examples") == 4
    if problem_type == "regression":
        expected = {"pearson": pearsonr(scores[:, 0], given).statistic}
        expected["spearman"] = spearmanr(scores[:, 0], given).statistic
        expected["squared_error"] = ((scores[:, 0] - np.array(given)) ** 2).mean()
        assert found == pytest.approx(expected, abs=1e-5)
    elif problem_type.startswith("multi"):
        wanted = np.array([[label in row for label in labels] for row in given])
        assert found["exact_match"] == pytest.approx(accuracy_score(wanted, scores > 0))
        assert found["micro_f1"] == pytest.approx(f1_score(wanted, scores > 0, average="micro"))
    else:
        decided, wanted = scores.argmax(1), [labels.index(str(each)) for each in given]
        assert found["accuracy"] == pytest.approx(accuracy_score(wanted, decided))
        assert found["matthews"] == pytest.approx(matthews_corrcoef(wanted, decided), abs=1e-6)
        assert ("f1" in found) == (len(labels) == 2)
    write_rows(path, {"text": "the", "label": "strange"})
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1 has .*'strange'"):
        evaluate(settings(f"checkpoint={tmp_path / 'hf'}", f"labeled.path={path}"))


def test_a_regression_of_several_numbers_is_not_scored_as_one(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = BertConfig(**config_for(tokenizer).as_dict(), num_labels=2, problem_type="regression")
    BertForSequenceClassification(config).save_pretrained(tmp_path / "hf")
    save_tokenizer(tokenizer, tmp_path / "hf")
    path = write_rows(tmp_path / "t.jsonl", {"text": "the", "label": 1}, {"text": "king", "label": 2})
    with pytest.raises(ValueError, match=r"hf has another head than the task: classifier\.bias, classifier\.weight"):
        evaluate(settings(f"checkpoint={tmp_path / 'hf'}", f"labeled.path={path}"))


def test_labels_need_a_fine_tuned_model(folder: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "t.jsonl", {"text": "the", "label": "a"})
    with pytest.raises(ValueError, match=r"hf has no head of a task; labeled\.path needs a fine-tuned model"):
        evaluate(settings(f"checkpoint={folder}", f"labeled.path={path}"))


@pytest.mark.parametrize(
    ("key", "rows", "said"),
    [
        ("minimal_pairs", [{"sentence_good": "the"}], r"in\.jsonl, line 1 has no column 'sentence_bad'"),
        ("minimal_pairs", [{"sentence_good": "the", "sentence_bad": ""}], "line 1 has a sentence without a token"),
        ("minimal_pairs", [{"sentence_good": "the " * 50, "sentence_bad": "a"}], "line 1 has 152 tokens, more than"),
        ("minimal_pairs", [], r"in\.jsonl holds no rows"),
        ("cloze", [{"text": "the king", "answer": "a"}], r"line 1 has 0 \[MASK\], but a cloze question has one"),
        ("cloze", [{"text": "[MASK] [MASK]", "answer": "a"}], r"line 1 has 2 \[MASK\]"),
        ("cloze", [{"text": "the [MASK]", "answer": 5}], "line 1 has answer=5, which must be text"),
        ("cloze", [{"text": "the [MASK]", "answer": "kings"}], "none of the 1 answers is one token"),
        ("cloze", [{"text": "the [MASK]", "answer": "€"}], "none of the 1 answers is one token"),
    ],
    ids=str,
)
def test_wrong_rows_are_one_line(
    folder: Path, tmp_path: Path, key: str, rows: list[dict[str, object]], said: str
) -> None:
    path = write_rows(tmp_path / "in.jsonl", *rows)
    with pytest.raises(ValueError, match=said) as error:
        evaluate(settings(f"checkpoint={folder}", f"{key}={path}"))
    assert "\n" not in str(error.value)


def test_wrong_settings_are_one_line(folder: Path, prepared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    strangers = train_wordpiece(["quite other words than those of the corpus"], vocab_size=60)
    write_folder(other, config_for(tokenizer=strangers), _state_for(strangers, tmp_path), tokenizer_files(strangers))
    data = f"data.path={prepared}"
    for arguments, said in (
        ([], r"nothing to evaluate: give one of data\.path, labeled\.path, minimal_pairs, cloze"),
        (["checkpoint=nowhere", data], "checkpoint=nowhere does not exist"),
        ([data, "split=test", "data.seq_len=32"], r"has no split 'test', only train, validation"),
        ([data, "data.seq_len=128"], r"data\.seq_len=128, but the model has max_position_embeddings=40"),
        ([data, "data.seq_len=32", f"checkpoint={other}"], "has another vocabulary than the prepared folder"),
        (["data.path=nowhere"], "nowhere is not a folder prepared by bert-prepare"),
        (["checkpoint=nowhere", data, "output=nowhere/x.json"], r"output=nowhere/x\.json is in a folder that does not"),
        (["cloze=none.jsonl"], r"none\.jsonl cannot be read"),
        ([data, "validation.masking.mask_prob=x"], r"validation\.masking\.mask_prob must be a number; got x"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            evaluate(settings(f"checkpoint={folder}", f"data.cache_dir={tmp_path}", *arguments))
        assert "\n" not in str(error.value)


def test_settings_that_nothing_reads_are_refused(folder: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_rows(tmp_path / "c.jsonl", *({"text": text, "answer": answer} for text, answer in QUESTIONS))
    for changed in ("prompting.shots=[0, 1]", "prompting.examples=5", "prompting.template={text}", "prompting.seed=1"):
        with pytest.raises(ValueError, match=rf"{re.escape(changed)} is not read: no causal model"):
            evaluate(settings(f"checkpoint={folder}", f"cloze={path}", changed.replace("{text}", "'{text}'")))
    with pytest.raises(ValueError, match=r"labeled\.text=review is not read: labeled\.path is not given"):
        evaluate(settings(f"checkpoint={folder}", f"cloze={path}", "labeled.text=review"))


def test_the_usual_settings_are_those_of_the_config() -> None:
    cfg = settings()
    assert Prompting(**cfg.prompting) == Prompting()
    assert LabeledFile(Path("x"), **{name: value for name, value in cfg.labeled.items() if name != "path"}) == (
        LabeledFile(Path("x"))
    )


def _state_for(tokenizer: Tokenizer, tmp_path: Path) -> dict[str, torch.Tensor]:
    return write_checkpoint(tmp_path / "y.ckpt", tokenizer, tmp_path / "tokenizer-y")


def test_the_command_prints_and_writes_the_scores(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *({"sentence_good": good, "sentence_bad": bad} for good, bad in PAIRS))
    done = run_command("evaluate", "checkpoint=hf", "minimal_pairs=p.jsonl", "output=s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["checkpoint"] == "hf"
    assert math.isfinite(scores["minimal_pairs"]["accuracy"])
    done = run_command("evaluate", "checkpoint=hf", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing to evaluate: ")
