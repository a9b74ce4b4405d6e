"""bert-finetune from files to scores: what it writes, seeds, resumes, strategies, exports, and wrong input."""

import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForSequenceClassification

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.compare import compare
from bert_lightning.export import export
from bert_lightning.finetuning.starting_weights import starting_state
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.models.encoder import Encoder
from tests.finetuning.tiny_task import command, finetune_apart, finetune_here, lines, settings
from tests.support.checkout import checkout_environment, torchrun
from tests.support.models import tiny_encoder
from tests.support.runs import compose_here
from tests.support.settings import Settings


@pytest.fixture
def tiny(tmp_path: Path, tokenizer: Tokenizer) -> Settings:
    return settings(tmp_path, tokenizer)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> tuple[Path, Settings]:
    """Two seeds that were trained without a stop."""
    folder = tmp_path_factory.mktemp("finished")
    given = settings(folder, tokenizer) | {"seeds": 2}
    finetune_here(given)
    return folder / "runs" / "run", given


def test_files_of_all_seeds_agree(finished: tuple[Path, Settings]) -> None:
    run, _ = finished
    scores = json.loads((run / "scores.json").read_text())
    values = scores["metrics"]["validation/accuracy"]["values"]
    assert list(values) == ["0", "1"]
    assert scores["metrics"]["validation/accuracy"]["mean"] == pytest.approx(sum(values.values()) / 2)
    spread = abs(values["0"] - values["1"]) / 2**0.5
    assert scores["metrics"]["validation/accuracy"]["standard_deviation"] == pytest.approx(spread)
    assert scores["metrics"]["test/accuracy"]["examples"] == 13
    best = f"seed-{scores['best_seed']}"
    assert values[str(scores["best_seed"])] == max(values.values())
    assert (run / scores["checkpoint"]).exists()
    for name, number in (("predictions.jsonl", 30), ("predictions_test.jsonl", 13)):
        found = lines(run / name)
        assert found == lines(run / best / name)
        assert [line["id"] for line in found] == [str(row) for row in range(number)]
    seed = json.loads((run / best / "scores.json").read_text())
    right = [line["prediction"] == line["label"] for line in lines(run / "predictions.jsonl")]
    assert seed["metrics"]["validation/accuracy"] == pytest.approx(sum(right) / 30)
    assert {"config.yaml", "metrics.csv", "report.html", "run.log"} <= {path.name for path in (run / best).iterdir()}


def test_the_best_checkpoint_is_that_of_the_best_validation(finished: tuple[Path, Settings]) -> None:
    run, _ = finished
    for seed in ("seed-0", "seed-1"):
        scores = json.loads((run / seed / "scores.json").read_text())
        steps, values = read_columns(run / seed / "metrics.csv")["val/accuracy"]
        assert steps == [4, 8]
        assert scores["step"] == steps[values.index(max(values))]
        assert scores["metrics"]["validation/accuracy"] == pytest.approx(max(values))
        kept = [path.name for path in (run / seed / "checkpoints").glob("*.ckpt")]
        assert kept == [f"step-{scores['step']:07d}.ckpt"]


def test_the_export_gives_the_predictions_that_were_written(finished: tuple[Path, Settings], tmp_path: Path) -> None:
    run, given = finished
    export(compose_here("export", {"checkpoint": run, "output_dir": tmp_path / "hf"}))
    model, tokenizer = (
        kind.from_pretrained(tmp_path / "hf") for kind in (BertForSequenceClassification, AutoTokenizer)
    )
    rows = (Path(str(given["task.path"])) / "dev.tsv").read_text().splitlines()[1:]
    for line, row in zip(lines(run / "predictions.jsonl"), rows, strict=True):
        with torch.no_grad():
            text = tokenizer(row.split("\t")[0], truncation=True, max_length=32, return_tensors="pt")
            scores = model(**text).logits[0]
        assert scores.tolist() == pytest.approx(line["scores"], abs=1e-5)
        assert model.config.id2label[int(scores.argmax())] == line["prediction"]


def test_a_fine_tuned_model_keeps_its_labels_by_name(finished: tuple[Path, Settings]) -> None:
    head = load_pretrained(finished[0]).head
    assert head is not None
    assert head.labels == ["bad", "good"]


def test_a_finished_run_says_so_and_changes_nothing(
    finished: tuple[Path, Settings], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run, given = finished
    before = (run / "scores.json").read_text()
    times = {path: path.stat().st_mtime_ns for path in run.rglob("*.ckpt")}
    caplog.set_level(logging.INFO)
    metrics = finetune_here(given | {"resume": "auto", "optimizer.lr": 1e-3})
    assert metrics == json.loads(before)["metrics"]
    guess = "Guessing always good is right in 50.0% of the validation labels."
    assert guess in capsys.readouterr().out.splitlines()
    assert guess in (run / "report.html").read_text()
    assert (run / "scores.json").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.ckpt")} == times
    assert "seed-1 is finished: validation/accuracy=" in caplog.text
    assert "optimizer.lr was 0.003, is 0.001: no effect on a finished run" in caplog.text
    with pytest.raises(ValueError, match="seed-0 holds a run; resume=auto continues it"):
        finetune_here(given)


def test_seeds_compare_with_each_other(finished: tuple[Path, Settings]) -> None:
    """The kept predictions give the scores that were written, which `compare` checks."""
    run, _ = finished
    values = json.loads((run / "scores.json").read_text())["metrics"]["test/accuracy"]["values"]
    found = compare(
        compose_here("compare", {"first": run / "seed-0", "second": run / "seed-1", "split": "test", "resamples": 100})
    )
    assert list(found) == ["accuracy", "macro_f1"]
    assert found["accuracy"].value == pytest.approx(values["1"] - values["0"])
    same = compare(compose_here("compare", {"first": run, "second": run, "resamples": 100}))
    assert same["accuracy"].value == 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_run_goes_on_to_the_same_scores(finished: tuple[Path, Settings], tmp_path: Path) -> None:
    """It is killed in the first seed and in the second one."""
    reference, given = finished
    given = given | {"output_dir": tmp_path / "runs"}
    run = tmp_path / "runs" / "run"
    for checkpoint in ("seed-0/checkpoints/step-0000004.ckpt", "seed-1/checkpoints/step-0000004.ckpt"):
        resume: Settings = {"resume": "auto"} if run.exists() else {}
        process = subprocess.Popen(
            command(given | resume), cwd=tmp_path, env=checkout_environment(), stdout=subprocess.DEVNULL
        )
        wait_for(run / checkpoint, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (run / "scores.json").exists()
    finetune_here(given | {"resume": "auto"})
    for name in ("scores.json", "predictions.jsonl", "predictions_test.jsonl", "seed-0/scores.json"):
        assert (run / name).read_text() == (reference / name).read_text(), name


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "launched"), [("ddp", False), ("fsdp", True)])
def test_two_processes_reach_the_same_weights(
    finished: tuple[Path, Settings], tmp_path: Path, strategy: str, launched: bool
) -> None:
    """Lightning starts the processes of one, torchrun those of the other."""
    reference, given = finished
    more: Settings = {"output_dir": tmp_path / "runs", "strategy": strategy}
    launcher = torchrun(2) if launched else ["-m"]
    done = finetune_apart(given | more | ({} if launched else {"trainer.devices": 2}), tmp_path, launcher)
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "runs" / "run"
    found, expected = load_pretrained(run).state, load_pretrained(reference).state
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    for one, other in zip(lines(run / "predictions.jsonl"), lines(reference / "predictions.jsonl"), strict=True):
        assert (one["id"], one["prediction"]) == (other["id"], other["prediction"])
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_every_kind_of_label_trains(tiny: Settings, tmp_path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "regression": {"task.label": "number", "task.text_pair": "other"},
        "multilabel": {"task.label": "classes"},
    }
    for task, more in kinds.items():
        metrics = finetune_here(tiny | {"task": task, "run_name": task, "epochs": 1} | more)
        line = lines(tmp_path / "runs" / task / "predictions.jsonl")[1]
        assert line["label"] == {"regression": 1.5, "multilabel": ["any", "bad"]}[task]
        assert all(torch.isfinite(torch.tensor(each["mean"])) for each in metrics.values())


def test_grid_names_the_winner_and_takes_its_scores(tiny: Settings, tmp_path: Path) -> None:
    finetune_here(tiny | {"grid": True, "grid_lr": "[1e-5,1e-2]", "grid_batch_size": "[20]"})
    scores = json.loads((tmp_path / "runs" / "run" / "scores.json").read_text())
    assert list(scores["grid"]) == ["lr-1e-05_batch-20", "lr-0.01_batch-20"]
    assert scores["grid"][scores["winner"]] == max(scores["grid"].values())
    assert scores["checkpoint"].startswith(scores["winner"])
    assert scores["metrics"]["validation/accuracy"]["mean"] == scores["grid"][scores["winner"]]
    run = tmp_path / "runs" / "run"
    seed = run / scores["winner"] / "seed-0"
    found = compare(compose_here("compare", {"first": run, "second": seed, "resamples": 100}))
    assert found["accuracy"].second == scores["grid"][scores["winner"]]
    assert found["accuracy"].value == 0


def test_a_frozen_encoder_stays_as_it_is_and_the_head_learns(tiny: Settings, tmp_path: Path) -> None:
    finetune_here(tiny | {"freeze": True, "patience": 1, "epochs": 4, "head_lr": 1e-2, "layer_decay": 0.9})
    found, begin = load_pretrained(tmp_path / "runs" / "run"), load_pretrained(str(tiny["checkpoint"]))
    for name, tensor in begin.state_of("encoder").items():
        assert torch.equal(found.state_of("encoder")[name], tensor), name
    assert not torch.equal(found.pooler()["dense.weight"], begin.pooler()["dense.weight"])


def test_patience_ends_a_seed(tiny: Settings, tmp_path: Path) -> None:
    finetune_here(tiny | {"patience": 1, "epochs": 6, "optimizer.lr": 1e-9})
    assert read_columns(tmp_path / "runs" / "run" / "seed-0" / "metrics.csv")["val/accuracy"][0] == [4, 8]


def test_weights_that_begin_anew_are_said(tiny: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    finetune_here(tiny | {"reinit_layers": 1, "trainer.max_steps": 1})
    assert "begin with new weights: classifier, encoder.layers.1.attention.qkv" in caplog.text
    other = tiny | {"task": "regression", "task.label": "number", "run_name": "other"}
    finetune_here(other | {"trainer.max_steps": 1, "checkpoint": tmp_path / "runs" / "run"})
    assert "a head for sequence_classification with the labels bad, good, whose last layer is not used" in caplog.text


@pytest.mark.parametrize("shared", ["all", "attention", "feed_forward"])
def test_layers_that_share_weights_do_not_begin_anew(shared: str) -> None:
    """Nothing else would know which of their users the new weights are for."""
    config = tiny_encoder(num_hidden_layers=3, shared_parameters=shared)
    state = {f"encoder.{name}": tensor for name, tensor in Encoder(config).state_dict().items()}
    pretrained = Pretrained(config, state, {})
    with pytest.raises(ValueError, match=rf"reinit_layers=1 gives .*model.shared_parameters={shared}; take reinit_l"):
        starting_state(pretrained, [], reinit_layers=1)
    assert starting_state(pretrained, []).keys() == state.keys()


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"task.text": "review"},
        r"^task.text=review, but .*train.tsv, line 2 has no column 'review'; it has text, other, ",
    ),
    (
        {"task": "regression"},
        r"^task.label=label, but .*train.tsv, line 2 has label='good', which must be a finite number",
    ),
    ({"task": "sst2"}, r"train.tsv, line 1 has"),
    ({"task.labels": "[good,fine]"}, r"train.tsv, line 3 has the label 'bad', which is none of good, fine"),
    ({"task.path": "nowhere"}, r"task.path=nowhere does not exist"),
    ({"task.chosen_by": "bleu"}, r"task.chosen_by must be one of task.metrics=accuracy, macro_f1; got bleu"),
    ({"task.metrics": "[bleu]"}, r"task.metrics must be some of accuracy, f1, macro_f1, matthews; got bleu"),
    ({"task.class_weights": "[1]"}, r"task.class_weights must be null, balanced, or a number above 0 for each of bad"),
    ({"task.train_examples": 61}, r"task.train_examples=61, but there are 60 training examples"),
    ({"task.validation_share": 2}, r"task.validation_share must be between 0 and 1; got 2"),
    ({"checkpoint": "nowhere"}, r"checkpoint=nowhere does not exist"),
    ({"data.seq_len": 65}, r"data.seq_len=65 is longer than the encoder's max_position_embeddings=64"),
    ({"data.global_batch_size": 0}, r"data.global_batch_size must be a whole number"),
    ({"data.micro_batch_size": 5}, r"data.global_batch_size=16 is not a multiple of data.micro_batch_size=5"),
    ({"optimizer.lr": "abc"}, r"optimizer.lr must be a number; got abc"),
    ({"epochs": "x"}, r"epochs must be a number above 0; got x"),
    ({"seeds": 0}, r"seeds must be a whole number"),
    ({"patience": 0}, r"patience must be a whole number"),
    ({"data.validation_micro_batch_size": 0}, r"data.validation_micro_batch_size must be a whole number"),
    ({"classifier_dropout": 1}, r"classifier_dropout must be a probability below 1, or null; got 1"),
    ({"grid": True, "grid_batch_size": 16}, r"grid_batch_size must be a list of numbers; got 16"),
    ({"reinit_layers": 3}, r"reinit_layers must be from 0 to the 2 layers of the encoder; got 3"),
    ({"reinit_layers": "two"}, r"reinit_layers must be a whole number; got two"),
    ({"layer_decay": "null"}, r"layer_decay must be a number; got None"),
    ({"task.class_weights": "[1,high]"}, r"task.class_weights must be .*; got \[1, 'high'\]"),
    ({"task.class_weights": "[1,nan]"}, r"task.class_weights must be null, balanced, or a number above 0 for each"),
    ({"callbacks.checkpoint.keep_best": "val/loss"}, r"keep_best=val/loss, but .* best checkpoint by val/accuracy"),
    ({"trainer.limit_val_batches": 1}, r"trainer.limit_val_batches=1, but val/accuracy is measured on all validation"),
    ({"trainer.limit_val_batches": 0.5}, r"trainer.limit_val_batches=0.5, but val/accuracy is measured on all"),
    ({"layer_decay": 2}, r"layer_decay must be above 0 and at most 1; got 2"),
    ({"head_lr": -1}, r"head_lr must be a number above 0, or null; got -1"),
    ({"freeze": "maybe"}, r"freeze must be true or false; got maybe"),
    ({"resume": "x.ckpt"}, r"resume must be null or auto"),
    ({"callbacks": "none"}, r"callbacks.checkpoint must be a group"),
    ({"trainer.precision": "fp8"}, r"trainer.precision must be one of auto, 32-true, bf16-mixed for fine-tuning"),
    ({"model.hidden_dropout_prob": 2}, r"model.hidden_dropout_prob=2 is not a probability below 1"),
    ({"model.hidden_dropout_prob": "x"}, r"model.hidden_dropout_prob must be a number or null; got x"),
    ({"grid": True, "grid_lr": "[0]"}, r"grid_lr must be a list of numbers above 0; got 0"),
    ({"schedule.warmup_steps": 100}, r"schedule.warmup_steps=100 does not fit trainer.max_steps=8"),
]


@pytest.mark.parametrize(("more", "message"), WRONG, ids=[",".join(more) for more, _ in WRONG])
def test_wrong_input_is_one_line_and_nothing_is_written(
    tiny: Settings, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    if more.get("callbacks") == "none":
        tiny = {name: value for name, value in tiny.items() if not name.startswith("callbacks")}
    with pytest.raises(ValueError, match=message) as caught:
        finetune_here(tiny | more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("more", "mark", "holds", "wanted"), [
    ({}, "study.json", "a search", "a fine-tuning"),
    ({"resume": "auto"}, "lr-2e-05_batch-16/seed-0/metrics.csv", "a grid of fine-tunings", "a fine-tuning"),
    ({"grid": True, "resume": "auto"}, "seed-7/metrics.csv", "a fine-tuning", "a grid of fine-tunings"),
    ({"variants": "{a: {epochs: 1}}"}, "a/study.json", "a search", "a fine-tuning"),
])  # fmt: skip
def test_a_fine_tuning_begins_in_no_folder_of_something_else(
    tiny: Settings, tmp_path: Path, more: Settings, mark: str, holds: str, wanted: str
) -> None:
    folder = tmp_path / "runs" / "run"
    (folder / mark).parent.mkdir(parents=True)
    (folder / mark).write_text("")
    there = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=f"^run_name=run.*: .* holds {holds}, and {wanted} needs a folder of its own"):
        finetune_here(tiny | more)
    assert sorted(folder.rglob("*")) == there


def test_errors_are_those_of_the_predictions_and_the_report_shows_them(finished: tuple[Path, Settings]) -> None:
    run, _ = finished
    content = json.loads((run / "errors.json").read_text())
    found = lines(run / "predictions.jsonl")
    pairs = [(line["label"], line["prediction"]) for line in found]
    names = content["labels"]
    assert content["confusion"] == [[pairs.count((right, said)) for said in names] for right in names]
    wrong = {line["id"] for line in found if line["label"] != line["prediction"]}
    assert {error["id"] for error in content["worst"]} <= wrong
    assert len(content["worst"]) == min(len(wrong), 20)
    losses = [error["loss"] for error in content["worst"]]
    assert losses == sorted(losses, reverse=True)
    page = (run / json.loads((run / "scores.json").read_text())["checkpoint"]).parents[1] / "report.html"
    assert "Right and predicted labels" in page.read_text()
    assert ("Worst errors" in page.read_text()) == bool(wrong)
