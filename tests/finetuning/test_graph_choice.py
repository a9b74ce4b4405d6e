"""Choices that only a knowledge graph tells: learned with it and not without, resumed, asked, and what is refused."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.evaluate import evaluate
from bert_lightning.export import export
from bert_lightning.finetuning import seed_run
from bert_lightning.finetuning.task import VALIDATION
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.predict import predict
from data_pipeline.streams.task_stream import ScoringStream
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.finetuning.scored import make_task
from tests.finetuning.tiny_task import finetune_apart, finetune_here, lines, settings
from tests.support.checkout import torchrun
from tests.support.models import tiny_encoder
from tests.support.runs import compose_here
from tests.support.settings import Settings

ANIMALS, FOODS, SIZES = 90, 12, {"train": 64, "dev": 26}


def write_task(folder: Path) -> Path:
    """Write questions about animals, each in one question alone, and a graph of what they like and hate to eat."""
    draw, triples = random.Random(0), []
    animals = iter(range(ANIMALS))
    folder.mkdir()
    for split, size in SIZES.items():
        rows = []
        for animal in [next(animals) for _ in range(size)]:
            foods, label = draw.sample(range(FOODS), 3), draw.randrange(3)
            for place, food in enumerate(foods):
                triples.append(f"animal {animal}\t{'likes' if place == label else 'hates'}\tfood {food}")
            choices = [f"food {food}" for food in foods]
            rows.append({"text": f"what for animal {animal} ?", "choices": choices, "label": label})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw.shuffle(triples)
    (folder / "graph.tsv").write_text("\n".join(triples) + "\n")
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([f"what for animal {number} ? food {number}" for number in range(ANIMALS)], vocab_size=200)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Settings:
    folder = tmp_path_factory.mktemp("graph")
    task = write_task(folder / "questions")
    return settings(folder, tokenizer) | {
        "task": "multiple_choice",
        "task.path": task,
        "task.graph.path": task / "graph.tsv",
        "task.graph.size": 16,
        "task.graph.max_hops": 2,
        "epochs": 4,
        "optimizer.lr": 1e-2,
        "callbacks.checkpoint.keep_last": 99,
        "callbacks.report": None,
    }


@pytest.fixture(scope="module")
def trained(given: Settings) -> Path:
    """The folder of a finished run with all its checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed_run, "remove_checkpoint", lambda path: None)
        finetune_here(given)
    return Path(str(given["output_dir"])) / "run"


def accuracy(run: Path) -> float:
    return json.loads((run / "scores.json").read_text())["metrics"]["validation/accuracy"]["mean"]


def test_what_only_the_graph_says_is_learned_with_it(given: Settings, trained: Path) -> None:
    """The animals of the validation are in no training question."""
    assert accuracy(trained) > 0.9
    finetune_here(given | {"run_name": "texts", "task.graph.path": None})
    assert accuracy(trained.with_name("texts")) < 0.6


def saved(run: Path) -> list[Path]:
    return sorted((run / "seed-0" / "checkpoints").glob("*.ckpt"))


def test_a_run_goes_on_exactly(given: Settings, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    for path in [*run.rglob("scores.json"), *saved(run)[2:]]:
        path.unlink()
    monkeypatch.setattr(seed_run, "remove_checkpoint", lambda path: None)
    finetune_here(given | {"output_dir": tmp_path, "resume": "auto"})
    for name in ("scores.json", "predictions.jsonl"):
        assert (run / name).read_text() == (trained / name).read_text()
    found, expected = (load_pretrained(saved(each)[-1]).state for each in (run, trained))
    assert [path.name for path in saved(run)] == [path.name for path in saved(trained)]
    assert any(name.startswith("graph_reader.") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=0, rtol=0, msg=name)


def test_a_run_does_not_go_on_with_another_graph(given: Settings, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    for path in run.rglob("scores.json"):
        path.unlink()
    graph = tmp_path / "graph.tsv"
    graph.write_text(Path(str(given["task.graph.path"])).read_text() + "food 1\tlikes\tanimal 1\n")
    more: Settings = {"output_dir": tmp_path, "resume": "auto"}
    for change, said in (
        ({"task.graph.path": graph}, r"with size=16, max_hops=2, .*; the settings say the graph \w{12} with size=16,"),
        ({"task.graph.size": 8}, r"the settings say the graph \w{12} with size=8, max_hops=2"),
        ({"task.graph.path": None}, r"the settings say no knowledge graph"),
    ):
        with pytest.raises(ValueError, match=rf"ckpt was trained with the graph \w{{12}} .*{said}"):
            finetune_here(given | more | change)


def test_the_model_is_asked_with_the_graph(given: Settings, trained: Path, tmp_path: Path) -> None:
    """The same scores as in the fine-tuning, whatever the order of the lines of the graph."""
    dev = Path(str(given["task.path"])) / "dev.jsonl"
    labeled: Settings = {"checkpoint": trained, "labeled.path": dev, "accelerator": "cpu"}
    assert evaluate(compose_here("evaluate", labeled))["labeled"]["accuracy"] == pytest.approx(accuracy(trained))
    graph = tmp_path / "graph.tsv"
    triples = Path(str(given["task.graph.path"])).read_text().splitlines()
    graph.write_text("\n".join(reversed(triples)))
    said = tmp_path / "said.jsonl"
    asked: Settings = {"checkpoint": trained, "accelerator": "cpu", "batch_tokens": 100, "graph": graph}
    predict(compose_here("predict", asked | {"input": dev, "output": said}))
    for found, kept in zip(lines(said), lines(trained / "predictions.jsonl"), strict=True):
        shares = torch.tensor(kept["scores"]).softmax(0).tolist()
        assert (found["prediction"], found["probabilities"]) == (kept["prediction"], pytest.approx(shares, abs=1e-5))
    unknown: Settings = {"text": "nothing", "choices": "[no,never]", "output": said}
    predict(compose_here("predict", asked | unknown))
    assert len(lines(said)[0]["probabilities"]) == 2
    graph.write_text("\n".join(triples[1:]))
    with pytest.raises(
        ValueError, match=r"graph\.tsv is not the graph that checkpoint=.* was trained with: its sha256"
    ):
        predict(compose_here("predict", asked | unknown))
    by_task = {name: value for name, value in given.items() if name == "task" or name.startswith("task.")}
    by_task |= {"checkpoint": trained, "accelerator": "cpu"}
    assert evaluate(compose_here("evaluate", by_task))["task"]["accuracy"] == pytest.approx(accuracy(trained))
    with pytest.raises(ValueError, match=r"its head has the graph \w{12} with .* and not the graph \w{12} with"):
        evaluate(compose_here("evaluate", by_task | {"task.graph.path": graph}))
    with pytest.raises(ValueError, match=r"reads a knowledge graph, and absent\.tsv is no file"):
        evaluate(compose_here("evaluate", labeled | {"labeled.graph": "absent.tsv"}))


def test_what_cannot_work_is_refused(given: Settings, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the model has a reader of a knowledge graph, which BERT's classes in"):
        export(compose_here("export", {"checkpoint": trained, "output_dir": tmp_path / "hf"}))
    other: Settings = {"output_dir": tmp_path, "epochs": 1}
    with pytest.raises(
        ValueError, match=r"teacher=.* reads the graph \w+ .*, the model of this task reads no knowledge"
    ):
        finetune_here(given | other | {"teacher": trained, "task.graph.path": None})
    for name, value, said in (
        ("path", "absent.tsv", r"absent\.tsv cannot be read"),
        ("size", "wide", r"task\.graph\.size must be a whole number; got wide"),
        ("max_hops", 9, r"task\.graph\.max_hops must be from 1 to 4; got 9"),
    ):
        with pytest.raises(ValueError, match=said):
            finetune_here(given | other | {f"task.graph.{name}": value})
    plain: dict[str, Any] = {"checkpoint": given["checkpoint"], "accelerator": "cpu", "text": "a", "graph": "g.tsv"}
    with pytest.raises(ValueError, match=r"graph is for a model with a head for multiple_choice"):
        predict(compose_here("predict", plain))


def test_two_ranks_give_the_scores_of_one(given: Settings, tokenizer: Tokenizer) -> None:
    """Each choice has its score, whatever lies beside it in the batches of either rank."""
    folder = Path(str(given["task.path"]))
    task = make_task("multiple_choice", folder, graph={"path": str(folder / "graph.tsv"), "size": 8})
    examples = task.prepare(tokenizer, 32)[VALIDATION].encoded
    torch.manual_seed(0)
    objective = task.objective(tiny_encoder(tokenizer.get_vocab_size()), looped_attention, None).eval()

    def scores(world_size: int, micro_batch_size: int) -> np.ndarray[Any, Any]:
        found = np.full((len(examples), 3), np.nan)
        for rank in range(world_size):
            for batch in (
                each for some in ScoringStream(examples, micro_batch_size, rank, world_size) for each in some
            ):
                values = objective.scores(batch).detach().view(-1, 3)[: batch.num_examples]
                found[batch.sample_ids[: batch.num_examples].numpy()] = values
        return found

    one, two = scores(1, 26), scores(2, 5)
    np.testing.assert_allclose(two, one, atol=1e-5)
    assert one.std(axis=1).min() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_the_same_model(given: Settings, trained: Path, tmp_path: Path, strategy: str) -> None:
    done = finetune_apart(given | {"output_dir": tmp_path, "strategy": strategy}, tmp_path, torchrun(2))
    assert done.returncode == 0, done.stderr[-2000:]
    for found, kept in zip(
        lines(tmp_path / "run" / "predictions.jsonl"), lines(trained / "predictions.jsonl"), strict=True
    ):
        assert found["prediction"] == kept["prediction"]
        assert found["scores"] == pytest.approx(kept["scores"], abs=1e-2)
