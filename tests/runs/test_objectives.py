"""Every objective trains, is saved, resumes and exports, and never continues the checkpoint of another one."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.export import export
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.runs import assert_same_end, run_here
from tests.support.settings import NO_DROPOUT, SIZES, TINY, Settings
from tests.support.texts import tiny_texts, write_prepared

GPT2: Settings = {"model": "gpt2_small", **{f"model.{size}": value for size, value in SIZES.items()}}
OBJECTIVES = {
    "mlm": ({"objective": "mlm", "pairs": "full_sentences"}, ["mlm"], "BertForMaskedLM"),
    "mlm_sop": ({"objective": "mlm_sop", "pairs": "sentence_order"}, ["mlm", "sop"], "BertForMaskedLM"),
    "replaced_tokens": (
        {"objective": "replaced_tokens", "pairs": "full_sentences", "masking": "electra"},
        ["mlm", "replaced"],
        "ElectraForPreTraining",
    ),
    "causal_lm": (
        {"objective": "causal_lm", "pairs": "full_sentences", **GPT2},
        ["causal"],
        "GPT2LMHeadModel",
    ),
}
STUDENTS = {
    "distillation": (["mlm", "soft", "cosine"], {"mlm_head"}, {"model.type_vocab_size": 0}, "DistilBertForMaskedLM"),
    "layer_distillation": (
        ["embedding", "attention", "hidden"],
        {"width_projection"},
        {"model.hidden_size": 16, "model.intermediate_size": 32},
        "BertModel",
    ),
    "relation_distillation": (
        ["query", "key", "value"],
        set(),
        {"model.hidden_size": 16, "objective.relation_heads": 4},
        "BertModel",
    ),
}
"""Losses, modules beside the encoder, other sizes than the teacher's, and class of transformers of each student."""


@pytest.fixture(scope="module")
def trained_teacher(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("teacher")
    run_here(TINY | {"data.path": prepared, "output_dir": folder, "run_name": "a", "trainer.max_steps": 2})
    return folder / "a"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_trains_resumes_and_exports(base: Settings, tmp_path: Path, name: str) -> None:
    settings, targets, architecture = OBJECTIVES[name]
    run_here(base | NO_DROPOUT | settings | {"run_name": "whole", "callbacks.checkpoint.keep_last": None})
    folder = tmp_path / "runs" / "whole"
    columns = read_columns(folder / "metrics.csv")
    measured = {column.split("/")[1] for column in columns if column.startswith("val/") and column.endswith("_loss")}
    assert measured == {f"{target}_loss" for target in targets}
    assert columns["train/loss"][1][-1] < columns["train/loss"][1][0]
    heads = {tensor.split(".")[0] for tensor in load_pretrained(folder).state}
    parts = {"causal": set(), "replaced": {"generator", "generator_head", "rtd_head"}}
    expected = set().union(*(parts.get(target, {f"{target}_head"}) for target in targets))
    assert heads == {"encoder", *expected} - ({"mlm_head"} if "replaced" in targets else set())
    run_here(
        base | NO_DROPOUT | settings | {"run_name": "part", "resume": folder / "checkpoints" / "step-0000010.ckpt"}
    )
    assert_same_end(tmp_path / "runs" / "part", folder)
    output = export(OmegaConf.create({"checkpoint": str(folder), "output_dir": str(tmp_path / "hf")}))
    assert json.loads((output / "config.json").read_text())["architectures"] == [architecture]


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_trains_resumes_and_exports(
    base: Settings, trained_teacher: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The teacher is a run; the student's checkpoint has nothing of it, and resumes with the same end."""
    targets, modules, sizes, architecture = STUDENTS[name]
    student = base | NO_DROPOUT | sizes | {"objective": name, "pairs": "full_sentences", "model.num_hidden_layers": 1}
    student |= {"objective.teacher": trained_teacher}
    run_here(student | {"run_name": "whole", "callbacks.checkpoint.keep_last": None})
    assert ("bert-fill-mask" in capsys.readouterr().out) == ("mlm_head" in modules)
    folder = tmp_path / "runs" / "whole"
    columns = read_columns(folder / "metrics.csv")
    measured = {column.split("/")[1] for column in columns if column.startswith("val/") and column.endswith("_loss")}
    assert measured == {f"{target}_loss" for target in targets}
    assert columns["train/loss"][1][-1] < columns["train/loss"][1][0]
    state = load_pretrained(folder).state
    assert {tensor.split(".")[0] for tensor in state} == {"encoder", *modules}
    assert not [tensor for tensor in state if "layers.1" in tensor]
    run_here(student | {"run_name": "part", "resume": folder / "checkpoints" / "step-0000010.ckpt"})
    assert_same_end(tmp_path / "runs" / "part", folder)
    output = export(OmegaConf.create({"checkpoint": str(folder), "output_dir": str(tmp_path / "hf")}))
    assert json.loads((output / "config.json").read_text())["architectures"] == [architecture]
    with pytest.raises(ValueError, match=rf"was trained with objective={name}, the settings say mlm; a new"):
        run_here(
            base
            | {key: size for key, size in sizes.items() if key.startswith("model.")}
            | {"run_name": "other", "objective": "mlm", "pairs": "full_sentences", "model.num_hidden_layers": 1}
            | {"resume": folder / "checkpoints" / "step-0000010.ckpt"}
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"objective.teacher": None},
            "objective.teacher must be the run, checkpoint or Hugging Face folder .* got null",
        ),
        ({"objective.teacher": "nowhere"}, "objective.teacher=nowhere: checkpoint=nowhere does not exist"),
        ({"model.max_position_embeddings": 80}, "model.max_position_embeddings=80, but objective.teacher has 64"),
        ({"model.is_causal": True}, "model.is_causal=True, but objective.teacher has False"),
    ],
    ids=str,
)
def test_a_teacher_that_cannot_teach_is_refused(
    base: Settings, trained_teacher: Path, change: Settings, said: str
) -> None:
    settings = base | {"objective": "distillation", "objective.teacher": trained_teacher, "run_name": "student"}
    with pytest.raises(ValueError, match=said):
        run_here(settings | change)


def test_a_teacher_of_another_vocabulary_is_refused_by_name(
    base: Settings, trained_teacher: Path, tmp_path: Path
) -> None:
    texts = tiny_texts(100, seed=7)
    settings = base | {"objective": "distillation", "objective.teacher": trained_teacher, "run_name": "student"}
    for size, said in ((100, "120 tokens there, 100 here"), (120, r"token \d+ is \S+ there, \S+ here")):
        other = train_wordpiece([" ".join(document)[::-1] for document in texts], vocab_size=size)
        folder = write_prepared(tmp_path / f"other-{size}", other, [texts[:12]] * 2, texts[:8])
        with pytest.raises(ValueError, match=f"objective.teacher=.*has another vocabulary: {said}"):
            run_here(settings | {"data.path": folder})


def test_pairs_that_do_not_fit_are_refused_before_anything_is_written(base: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pairs=FullSentences gives mlm only; take objective=mlm"):
        run_here(base | {"pairs": "full_sentences", "run_name": "a"})
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_of_another_objective_is_refused_by_name(base: Settings, tmp_path: Path) -> None:
    """Also one with the same tensors and labels, such as late_masks."""
    mlm = {"objective": "mlm", "pairs": "full_sentences"}
    run_here(base | mlm | {"run_name": "a", "trainer.max_steps": 5})
    checkpoint = tmp_path / "runs" / "a" / "checkpoints" / "step-0000005.ckpt"
    for name, others in (("late_masks", {"pairs": "full_sentences", "masking": "late"}), ("mlm_nsp", {})):
        with pytest.raises(ValueError, match=f"with objective=mlm, the settings say {name}; a new run with init_from"):
            run_here(base | {"run_name": "b", "objective": name, "resume": checkpoint} | others)
    run_here(base | {"run_name": "c", "objective": "mlm_nsp", "trainer.max_steps": 5, "init_from": checkpoint})
    assert (tmp_path / "runs" / "c" / "checkpoints" / "step-0000005.ckpt").exists()


def test_a_checkpoint_of_other_tensors_is_refused_by_name(base: Settings, tmp_path: Path) -> None:
    """Settings of an objective can change its modules while the encoder and the labels stay."""
    settings = base | OBJECTIVES["replaced_tokens"][0] | {"run_name": "a", "trainer.max_steps": 2}
    run_here(settings)
    said = r"has generator\.\S+ (of shape \S+ ?\S*|not at all), an objective of the settings .*; they are two models$"
    with pytest.raises(ValueError, match=said) as caught:
        run_here(settings | {"objective.generator_size": 1.0, "resume": "auto", "trainer.max_steps": 3})
    assert "\n" not in str(caught.value)


def test_a_run_goes_on_with_the_same_teacher(base: Settings, trained_teacher: Path, tmp_path: Path) -> None:
    """Another one of the same sizes is refused; older checkpoints do not know theirs."""
    run_here(base | {"run_name": "other", "trainer.max_steps": 1, "seed": 5})
    settings = base | {"objective": "distillation", "pairs": "full_sentences", "run_name": "student"}
    settings |= {"objective.teacher": trained_teacher, "trainer.max_steps": 1}
    run_here(settings)
    more = settings | {"resume": "auto", "trainer.max_steps": 2}
    with pytest.raises(ValueError, match=r"with a teacher of digest \w+; the settings say a teacher of digest \w+$"):
        run_here(more | {"objective.teacher": tmp_path / "runs" / "other"})
    checkpoint = tmp_path / "runs" / "student" / "checkpoints" / "step-0000001.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    assert content["bert_lightning"].pop("read_besides").keys() == {"teacher"}
    torch.save(content, checkpoint)
    assert run_here(more).global_step == 2


def test_a_corpus_of_one_pair_label_is_a_warning_in_the_log_of_the_run(
    base: Settings, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    copies = [[["the king runs .", "the queen sees the river ."]] * 10] * 2
    folder = write_prepared(tmp_path / "copies", tokenizer, copies, copies[0])
    run_here(base | {"run_name": "a", "data.path": folder, "trainer.max_steps": 1, "data.global_batch_size": 8})
    log = RunFolder(tmp_path / "runs" / "a").log.read_text()
    (said,) = (line for line in log.splitlines() if "learns a constant" in line)
    assert "100.0% of the pairs of the train split" in said
    assert "is_next" in said
