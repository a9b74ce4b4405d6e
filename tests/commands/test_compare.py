"""bert-compare on folders of predictions: what it finds, prints and writes, and wrong input."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.compare import compare
from tests.support.checkout import run_command
from tests.support.runs import compose_here

SIZE = 100


def write_seed(folder: Path, num_right: int, first: int = 0, size: int = SIZE) -> None:
    """Write what bert-finetune leaves of a seed that is right on some of the examples, from a first one on."""
    folder.mkdir(parents=True)
    right = [first <= row < first + num_right for row in range(size)]
    lines = [
        {"id": str(row), "label": "yes", "prediction": ("no", "yes")[is_right], "scores": [1.0, 0.0 + 2 * is_right]}
        for row, is_right in enumerate(right)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {"task": "rte", "metrics": {"validation/accuracy": num_right / size}}
    (folder / "scores.json").write_text(json.dumps(scores))


def write_run(folder: Path, *num_right: int) -> Path:
    """Write what bert-finetune leaves of several seeds."""
    for seed, number in enumerate(num_right):
        write_seed(folder / f"seed-{seed}", number)
    values = {str(seed): number / SIZE for seed, number in enumerate(num_right)}
    content = {
        "task": "rte",
        "best_seed": 0,
        "checkpoint": "seed-0/checkpoints/step-0000001.ckpt",
        "metrics": {"validation/accuracy": {"mean": 0.0, "values": values}},
    }
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


def compare_here(first: Path, second: Path, **more: Any) -> Any:
    return compare(compose_here("compare", {"first": first, "second": second, "resamples": 1000, **more}))


def test_a_better_model_is_told_from_a_worse_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse, better = write_run(tmp_path / "worse", 70, 71, 72), write_run(tmp_path / "better", 90, 91, 92)
    found = compare_here(worse, better, output=tmp_path / "out.json")["accuracy"]
    assert (found.first, found.second, found.value) == pytest.approx((0.71, 0.91, 0.2))
    assert 0 < found.low < 0.2 < found.high
    assert found.p < 0.01
    printed = capsys.readouterr().out
    assert "the models differ (*, p below 0.05) in: accuracy" in printed
    assert "1,000 resamples of 100 examples and of the seeds" in printed
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["metrics"]["accuracy"]["p"] == found.p
    assert content["resamples"] == 1000


def test_the_command_takes_two_folders(tmp_path: Path) -> None:
    """Names of folders may have commas and brackets, which Hydra would read as lists."""
    one, other = write_run(tmp_path / "a,[b", 70), write_run(tmp_path / "c d", 71)
    done = run_command("compare", str(one), str(other), "resamples=500", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the models differ (*, p below 0.05) in: nothing" in done.stdout
    assert "with one seed each, these two models are compared, not two ways to train" in done.stdout


def spoil(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    run, other = write_run(tmp_path / "run", 70), write_run(tmp_path / "other", 80)
    lines = other / "seed-0" / "predictions.jsonl"

    def refused(message: str, **more: Any) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            compare_here(run, other, **more)
        assert "\n" not in str(caught.value)

    refused("split=test has no scores in .*scores.json; it has those of validation", split="test")
    refused("output=nowhere/x.json is in a folder that does not exist", output="nowhere/x.json")
    refused("resamples must be a whole number", resamples=10)
    refused("confidence must be a number from 0.5 to below 1; got 2", confidence=2)
    refused("confidence must be a number from 0.5 to below 1; got high", confidence="high")
    refused("confidence must be a number from 0.5 to below 1; got None", confidence="null")
    spoil(lines, '"id": "3"', '"id": "x"')
    refused("the examples differ: line 4 of .*run/seed-0/predictions.jsonl has id='3', that of .* has 'x'")
    spoil(lines, '"id": "x", "label": "yes"', '"id": "3", "label": "no"')
    refused("the examples differ: line 4 of .* has label='yes', that of .* has 'no'")
    spoil(lines, '"label": "no"', '"label": "yes"')
    spoil(lines, '"prediction": "yes"', '"prediction": "no"')
    refused("predictions.jsonl gives accuracy=0.790000, but scores.json beside it has 0.800000")
    spoil(lines, '"prediction": "no"', '"said": "no"')
    refused("predictions.jsonl, line 1 lacks prediction")
    spoil(lines, "{", "")
    refused("predictions.jsonl, line 1 cannot be read as JSON")
    lines.write_text("")
    refused("predictions.jsonl holds no predictions")
    lines.unlink()
    refused("predictions.jsonl cannot be read")
    (other / "seed-0" / "scores.json").unlink()
    refused("seed-0 holds no scores.json")
    spoil(other / "scores.json", "seed-0/", "../seed-0/")
    refused("names the checkpoint '../seed-0/checkpoints/step-0000001.ckpt', which is in no folder of a seed")
    (other / "scores.json").unlink()
    refused("other holds no scores.json of a finished bert-finetune")
    (other / "variants.json").touch()
    refused("it holds several fine-tunings, take the folder of one of them")


def test_other_numbers_of_examples_are_refused(tmp_path: Path) -> None:
    write_seed(tmp_path / "one", 50)
    write_seed(tmp_path / "other", 50, size=90)
    with pytest.raises(ValueError, match=r"the examples differ: .* has 100 of them, .* has 90"):
        compare_here(tmp_path / "one", tmp_path / "other")
