"""An ablation trains every variant with every seed once, whatever stops it, and its table says what was reached."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bert_lightning.evaluate import evaluate
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps.ablation import Ablation
from tests.support.runs import compose_here
from tests.support.settings import NO_DROPOUT, Settings
from tests.sweeps.tiny_ablation import HereLauncher, ablate

VARIANTS = {"few": {"masking.mask_prob": 0.15}, "many": {"masking.mask_prob": 0.4, "objective": "mlm"}}


@pytest.fixture
def tiny(base: Settings) -> Settings:
    """Settings of runs of two steps that measure nothing themselves."""
    few = {"trainer.max_steps": 2, "trainer.limit_val_batches": 0, "~callbacks.guesses": "", "~callbacks.report": ""}
    return base | NO_DROPOUT | few | {"run_name": "masks", "seed": 5}


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent != folder}


def test_an_ablation_is_killed_continued_and_measured(
    tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same line goes on; finished runs are left alone; the table is that of an ablation without the kill."""

    def kill(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        ablate(tiny, HereLauncher(kill), variants=VARIANTS)
    assert stopped.value.code == 130
    folder = tmp_path / "runs" / "masks"
    cut = json.loads((folder / "ablation.json").read_text())
    assert {name: list(each["metrics"]["held_out/mlm_loss"]["values"]) for name, each in cut["variants"].items()} == {
        "few": ["5"],
        "many": ["5"],
    }
    assert f"- few, seed 6: not started, in `{folder}/few/seed-6`" in (folder / "ablation.md").read_text()
    before, launcher = files(folder), HereLauncher()
    content = ablate(tiny, launcher, variants=VARIANTS)
    assert launcher.launched == ["masks/few/seed-6", "masks/many/seed-6"]
    after = files(folder)
    assert {path: after[path] for path in before} == before
    assert content == json.loads((folder / "ablation.json").read_text())
    assert content["reference"] == "few"
    assert content["variants"]["many"]["changes"] == VARIANTS["many"]
    values: dict[str, list[float]] = {}
    for name, reached in content["variants"].items():
        loss = reached["metrics"]["held_out/mlm_loss"]
        values[name] = list(loss["values"].values())
        assert list(loss["values"]) == list(reached["runs"]) == ["5", "6"]
        assert loss["mean"] == pytest.approx(statistics.fmean(values[name]))
        assert loss["standard_deviation"] == pytest.approx(statistics.stdev(values[name]))
    differences = [many - few for few, many in zip(values["few"], values["many"], strict=True)]
    against = content["variants"]["many"]["differences"]["held_out/mlm_loss"]
    assert list(against["values"].values()) == differences
    assert content["variants"]["few"]["differences"] == {}
    asked = {name: tiny[name] for name in ("data.path", "data.cache_dir", "data.seq_len")}
    asked |= {"checkpoint": folder / "many" / "seed-6", "pairs": "doc_sentences", "accelerator": "cpu"}
    scores = evaluate(compose_here("evaluate", asked))
    assert values["many"][1] == pytest.approx(scores["held_out"]["mlm_loss"], rel=1e-5)
    printed = capsys.readouterr().out
    assert f"{statistics.fmean(differences):+.3f}" in printed
    launcher = HereLauncher()
    again = ablate(tiny | {"data.num_workers": 1, "logger.csv": None}, launcher, variants=VARIANTS)
    assert launcher.launched == []
    assert {name: each["metrics"] for name, each in again["variants"].items()} == {
        name: each["metrics"] for name, each in content["variants"].items()
    }


def test_a_failed_run_is_its_own_and_has_no_place_in_the_table(
    tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"few": {}, "broken": {"optimizer.lr": -1}}
    with pytest.raises(SystemExit) as ended:
        ablate(tiny, variants=wrong, seeds=1)
    assert ended.value.code == 1
    assert "broken, seed 5: failed: Invalid learning rate: -1 (" in capsys.readouterr().out
    folder = tmp_path / "runs" / "masks"
    content = json.loads((folder / "ablation.json").read_text())
    assert content["variants"]["broken"]["metrics"] == {}
    assert content["variants"]["few"]["metrics"]["held_out/mlm_loss"]["standard_deviation"] is None
    assert "- broken, seed 5: failed: Invalid learning rate: -1, in" in (folder / "ablation.md").read_text()
    few = folder / "few" / "seed-5"
    (few / "held_out.json").unlink()
    checkpoint = RunFolder(few).saved()[-1]
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit):  # an older checkpoint is not measured in its place
        ablate(tiny, variants={"few": {}}, seeds=1)
    assert f"few, seed 5: failed: checkpoint={checkpoint} cannot be read, it is damaged" in capsys.readouterr().out
    checkpoint.write_bytes(whole)
    with pytest.raises(SystemExit):  # what was finished with other settings is not measured as if it had these
        ablate(tiny | {"optimizer.weight_decay": 0.5}, variants={"few": {}}, seeds=1)
    content = json.loads((folder / "ablation.json").read_text())
    assert content["variants"]["few"]["metrics"] == {}
    assert content["variants"]["few"]["runs"]["5"]["status"] == "was finished otherwise"


def test_a_student_waits_for_its_teacher_and_is_not_trained_if_that_has_failed(tiny: Settings, tmp_path: Path) -> None:
    """It would be finished for good, from whatever checkpoint the teacher has left; the others go on."""
    folder = tmp_path / "runs" / "masks"
    learning = {"objective": "layer_distillation", "objective.teacher": f"{folder}/few/seed-${{seed}}"}
    variants = {"student": learning, "few": {}, "many": {"masking.mask_prob": 0.4}}

    def kill(number: int) -> None:
        if number == 1:
            raise ValueError("killed by SIGKILL")

    launcher = HereLauncher(kill)
    with pytest.raises(SystemExit):
        ablate(tiny, launcher, variants=variants, seeds=1)
    assert launcher.launched == ["masks/few/seed-5", "masks/many/seed-5"]
    table = (folder / "ablation.md").read_text()
    assert "- student, seed 5: not started: waits for few, seed 5, whose run it reads, in" in table
    launcher = HereLauncher()
    ablate(tiny, launcher, variants=variants, seeds=1)
    assert launcher.launched == ["masks/few/seed-5", "masks/student/seed-5"]


def test_a_student_learns_from_another_variant_and_a_model_without_scores_of_tokens_is_measured_too(
    tiny: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "masks"
    learning = {"objective": "layer_distillation", "objective.teacher": f"{folder}/few/seed-${{seed}}"}
    content = ablate(tiny, variants={"few": {}, "student": learning})
    student = content["variants"]["student"]
    assert "held_out/mlm_loss" not in student["differences"]
    assert student["metrics"]["held_out/examples"]["values"] == {"5": 0.0, "6": 0.0}
    assert "held_out/mlm_loss" not in student["metrics"]
    assert all(run["seconds"] > 0 for run in student["runs"].values())
    table = (folder / "ablation.md").read_text()
    assert "| student | 2 |" in table
    assert "not wholly, in the table" not in table
    for seed in ("5", "6"):
        noted = OmegaConf.load(RunFolder(folder / "student" / f"seed-{seed}").config)
        assert noted.objective.teacher == f"{folder}/few/seed-{seed}"


def test_runs_are_fine_tuned_on_tasks(tiny: Settings, tmp_path: Path) -> None:
    """Scores stand beside the losses; a line with other settings of a task does not mix them."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "dev"):
        rows = [f"{'alpha beta' if row % 2 else 'delta kappa'}\t{row % 2}" for row in range(16)]
        (texts / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task: dict[str, Any] = {"task": "classification", "task.path": str(texts), "epochs": 1}
    task |= {"data.seq_len": 32, "callbacks.throughput.peak_flops": 1e12}
    content = ablate(tiny, variants={"few": {}}, seeds=1, tasks={"letters": task})
    folder = tmp_path / "runs" / "masks" / "few" / "seed-5"
    scores = json.loads((folder / "tasks" / "letters" / "scores.json").read_text())
    reached = content["variants"]["few"]["metrics"]["letters/validation/accuracy"]
    assert reached["values"] == {"5": scores["metrics"]["validation/accuracy"]["mean"]}
    assert RunFolder(folder / "tasks" / "letters" / "seed-5").config.exists()
    assert "| letters accuracy |" in (tmp_path / "runs" / "masks" / "ablation.md").read_text()
    with pytest.raises(SystemExit):
        ablate(tiny, variants={"few": {}}, seeds=1, tasks={"letters": task, "none": task | {"task.text": "no"}})
    table = (tmp_path / "runs" / "masks" / "ablation.md").read_text()
    assert "- few, seed 5: failed: " in table
    assert f"| {reached['mean']:.3f} |" in table
    with pytest.raises(ValueError, match=r"hydra.sweeper.tasks.letters=.*'epochs': 2.*, but .* was fine-tuned with"):
        ablate(tiny, variants={"few": {}}, seeds=1, tasks={"letters": task | {"epochs": 2}})
    content = ablate(tiny, variants={"few": {}}, seeds=1, tasks={"none": task})  # nothing was trained under this name
    assert content["variants"]["few"]["metrics"]["none/validation/accuracy"]["values"] == reached["values"]


def test_a_mean_that_is_not_finite_is_left_out(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean over nothing is none, and neither is that of a run that has diverged; the file can be read again."""
    means = {"mlm_loss": float("nan"), "nsp_loss": 0.5, "examples": 15}
    monkeypatch.setattr("bert_lightning.sweeps.variant_scores.held_out_means", lambda *ignored: means)
    for _ in range(2):
        content = ablate(tiny, variants={"few": {}}, seeds=1)
        assert content["variants"]["few"]["metrics"]["held_out/nsp_loss"]["values"] == {"5": 0.5}
        assert "held_out/mlm_loss" not in content["variants"]["few"]["metrics"]


def test_bert_finetune_is_told_what_it_has_instead() -> None:
    make: Any = Ablation
    with pytest.raises(ValueError, match="is for bert-pretrain; bert-finetune trains settings by name with variants"):
        make(None, OmegaConf.create({"task": {"name": "sst2"}}), None, True, {})


@pytest.mark.parametrize(
    ("more", "sweeper", "message"),
    [
        ({}, {"variants": None}, r"hydra.sweeper.variants must be settings by name, such as .*; got None"),
        ({}, {"variants": "few"}, r"hydra.sweeper.variants must be settings by name, such as .*; got 'few'"),
        ({}, {"variants": {"few": 0.15}}, r"hydra.sweeper.variants.few must be settings by key, .*; got 0.15"),
        ({}, {"variants": {"a/b": {}}}, r"hydra.sweeper.variants: a name must be letters, .*; got a/b"),
        ({}, {"variants": {"few": {"seed": 1}}}, r"hydra.sweeper.variants.few.seed cannot be given"),
        ({}, {"variants": {"few": {"no_such": 1}}}, r"hydra.sweeper.variants.few: .*no_such"),
        ({}, {"variants": {"few": {"model": "huge"}}}, r"hydra.sweeper.variants.few: .*model/huge"),
        (
            {},
            {"variants": {"few": {}, "wide": {"model.hidden_size": 33}}},
            r"^hydra.sweeper.variants.wide: model.hidden_size=33 .* model.num_attention_heads=\d+$",
        ),
        ({}, {"variants": {"few": {"optimizer.lr": "x"}}}, r"variants.few: optimizer.lr must be a number; got x$"),
        ({}, {"timeout": 5}, r"hydra.sweeper.timeout is none of the settings of an ablation: variants, seeds"),
        ({}, {"seeds": 0}, r"hydra.sweeper.seeds must be a whole number"),
        (
            {},
            {"tasks": {"sst3": "."}},
            r"hydra.sweeper.tasks.sst3 must be, or name .*sst2.*; got sst3",
        ),
        ({}, {"tasks": {"sst2": "/nowhere"}}, r"hydra.sweeper.tasks.sst2 must give .* in task.path; got '/nowhere'"),
        ({}, {"tasks": {"sst2": {"task.path": ".", "seeds": 3}}}, r"hydra.sweeper.tasks.sst2.seeds cannot be given"),
        ({"seed": "1,2"}, {}, r"seed has several values; give them to hydra.sweeper.variants by name"),
        ({"run_dir": "here"}, {}, r"run_dir cannot be given"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    tiny: Settings, tmp_path: Path, more: Settings, sweeper: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ablate(tiny | more, **{"variants": VARIANTS} | sweeper)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
