"""Every objective trains, is saved, resumes and exports, and never continues the checkpoint of another one."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.export import export
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from tests.support.runs import assert_same_end, run_here
from tests.support.settings import NO_DROPOUT, SIZES, Settings
from tests.support.texts import write_prepared

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


def test_pairs_that_do_not_fit_are_refused_before_anything_is_written(base: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pairs=FullSentences gives mlm only; take objective=mlm"):
        run_here(base | {"pairs": "full_sentences", "run_name": "a"})
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_of_another_objective_is_refused_by_name(base: Settings, tmp_path: Path) -> None:
    run_here(base | {"run_name": "a", "trainer.max_steps": 5})
    checkpoint = tmp_path / "runs" / "a" / "checkpoints" / "step-0000005.ckpt"
    with pytest.raises(ValueError, match=r"with objective=mlm_nsp, the settings say mlm; a new run with init_from"):
        run_here(base | {"run_name": "b", "objective": "mlm", "resume": checkpoint})
    run_here(base | {"run_name": "c", "objective": "mlm", "trainer.max_steps": 5, "init_from": checkpoint})
    assert (tmp_path / "runs" / "c" / "checkpoints" / "step-0000005.ckpt").exists()


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
