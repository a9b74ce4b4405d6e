"""bert-pretrain end to end: real corpus files, real processes, real kills."""

import copy
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer

from bert_lightning.export import export
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.pretrain import pretrain
from bert_lightning.settings.run_facts import commit
from bert_lightning.training.modules import TrainingModule
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.checkout import checkout_environment, torchrun
from tests.support.runs import (
    assert_close,
    assert_same_end,
    command,
    compose_here,
    repeatable,
    run_apart,
    run_here,
    wandb_config,
)
from tests.support.settings import NO_DROPOUT, Settings
from tests.support.texts import tiny_texts, write_prepared


def test_a_run_learns_and_leaves_a_whole_folder(base: Settings, tmp_path: Path) -> None:
    trainer = run_here(base | {"run_name": "a", "trainer.max_steps": 60, "trainer.val_check_interval": 30})
    run_dir = tmp_path / "runs" / "a"
    assert trainer.global_step == 60
    assert {path.name for path in run_dir.iterdir()} == {
        ".ended",
        ".lock",
        "about.json",
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "quantities.json",
        "report.html",
        "run.log",
        "tables",
    }
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [
        "step-0000055.ckpt",
        "step-0000060.ckpt",
    ]
    columns = read_columns(run_dir / "metrics.csv")
    assert columns["train/loss"][0] == list(range(3, 61, 3))
    assert columns["val/loss"][0] == [30, 60]
    assert columns["train/mlm_loss"][1][-1] < columns["train/mlm_loss"][1][0] - 0.5
    assert columns["val/mlm_loss"][1][1] < columns["val/mlm_loss"][1][0]
    config = OmegaConf.load(run_dir / "config.yaml")
    assert config.model.vocab_size > 0
    assert config.schedule.max_steps == 60
    checkpoint = torch.load(run_dir / "checkpoints" / "step-0000060.ckpt", weights_only=True)
    assert checkpoint["bert_lightning"]["config"]["data"]["seq_len"] == 48
    assert all(name.startswith("objective.") for name in checkpoint["state_dict"])
    states = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert states == [checkpoint["bert_lightning"]["stream"]]
    assert states[0]["consumed_samples"] == 60 * 32
    lines = (run_dir / "metrics.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(3, 61, 3))  # one row a step
    assert {name.split("/")[0] for name in lines[0].split(",")} == {
        "step",
        "train",
        "val",
        "optim",
        "throughput",
        "progress",
    }


def test_a_killed_run_continues_to_the_last_digit(base: Settings, tmp_path: Path) -> None:
    """Kill -9 a process after its first checkpoints, dropout on; 40 steps take it longer than the poll."""
    settings = base | {
        "trainer.max_steps": 40,
        "callbacks.checkpoint.every_n_steps": 4,
        "model.hidden_dropout_prob": 0.3,
    }
    run_here(settings | {"run_name": "whole"})
    environment = checkout_environment()
    killed = settings | {"run_name": "killed", "resume": "auto"}
    process = subprocess.Popen(command(killed), cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "runs" / "killed" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step-*.ckpt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (checkpoints / "step-0000040.ckpt").exists()
    run_here(killed)
    assert repeatable(tmp_path / "runs" / "killed") == repeatable(tmp_path / "runs" / "whole")


@pytest.mark.parametrize("last", [4, 5, 8, 10])
def test_every_checkpoint_continues_to_the_last_digit(base: Settings, tmp_path: Path, last: int) -> None:
    """Checkpoints inside a window of the metrics, at its end, and at steps that are followed by a validation."""
    every = {"callbacks.checkpoint.every_n_steps": 1, "callbacks.checkpoint.keep_last": None}
    trainer = run_here(base | every | {"run_name": "whole"})
    checkpoint = tmp_path / "runs" / "whole" / "checkpoints" / f"step-{last:07d}.ckpt"
    resumed = run_here(base | every | {"run_name": "part", "resume": checkpoint})
    expected = repeatable(tmp_path / "runs" / "whole")
    found = repeatable(tmp_path / "runs" / "part")
    assert {step: row for step, row in found.items() if step > last} == {
        step: row for step, row in expected.items() if step > last
    }
    # The checkpoint was saved before the validation of its step, which the next launch makes up for.
    assert found.get(last, {}).items() <= expected.get(last, {}).items()
    assert ("val/loss" in found.get(last, {})) == (last % 5 == 0)
    for name, value in trainer.lightning_module.state_dict().items():
        assert torch.equal(value, resumed.lightning_module.state_dict()[name]), name


def test_a_finished_run_can_be_asked_for_again_and_be_made_longer(base: Settings, tmp_path: Path) -> None:
    constant = base | {"run_name": "a", "schedule": "constant", "resume": "auto"}
    run_here(constant)
    before = (tmp_path / "runs" / "a" / "metrics.csv").read_text()
    assert pretrain(compose_here("pretrain", constant)) is None
    assert (tmp_path / "runs" / "a" / "metrics.csv").read_text() == before
    assert run_here(constant | {"trainer.max_steps": 20}).global_step == 20
    run_here(constant | {"trainer.max_steps": 20, "run_name": "b"})
    longer, whole = (read_columns(tmp_path / "runs" / name / "metrics.csv")["val/loss"] for name in "ab")
    assert dict(zip(*longer, strict=True))[20] == dict(zip(*whole, strict=True))[20]


def test_other_micro_batches_and_workers_continue_the_same_run(base: Settings, tmp_path: Path) -> None:
    settings = base | NO_DROPOUT
    run_here(settings | {"run_name": "whole"})
    checkpoint = tmp_path / "runs" / "whole" / "checkpoints" / "step-0000010.ckpt"
    other = {"data.micro_batch_size": 16, "data.num_workers": 1}
    run_here(settings | other | {"run_name": "part", "resume": checkpoint})
    assert_same_end(tmp_path / "runs" / "part", tmp_path / "runs" / "whole")


@pytest.mark.parametrize("strategy", ["single", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_the_position_in_the_stream_is_in_the_payload(base: Settings, tmp_path: Path, strategy: str) -> None:
    """What Lightning keeps does not count; a checkpoint of version 0.1 has nothing else and continues too."""
    settings = base | NO_DROPOUT | {"run_name": "whole", "callbacks.checkpoint.keep_last": None}
    run_here(settings)
    if strategy == "fsdp":
        sharded = settings | {"strategy": "fsdp", "trainer.devices": 2, "run_name": "sharded"}
        assert run_apart(sharded, tmp_path).returncode == 0
    begun = tmp_path / "runs" / ("sharded" if strategy == "fsdp" else "whole")
    checkpoint = begun / "checkpoints" / "step-0000010.ckpt"
    file = checkpoint / "meta.pt" if checkpoint.is_dir() else checkpoint
    content = torch.load(file, weights_only=True)
    elsewhere, old = copy.deepcopy(content), copy.deepcopy(content)
    elsewhere["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["consumed_samples"] = 0
    for entry in ("stream", "objective"):
        del old["bert_lightning"][entry]
    sums = old["training_metrics"]["sums"]
    kept = [i for i, name in enumerate(sums["names"]) if name != "mlm_loss_per_byte"]
    sums |= {"names": [sums["names"][i] for i in kept], "sums": sums["sums"].view(2, -1)[:, kept].flatten()}
    for name, changed in (("elsewhere", elsewhere), ("old", old)):
        torch.save(changed, file)
        run_here(settings | {"run_name": name, "resume": checkpoint})
        assert_same_end(tmp_path / "runs" / name, tmp_path / "runs" / "whole")


def test_callbacks_and_loggers_of_lightning_see_metrics_and_settings(base: Settings, tmp_path: Path) -> None:
    """A loss never falls by 10, so the second validation ends the run, and its state is saved."""
    early, best, csv = "+callbacks.early", "+callbacks.best", "+logger.lightning"
    trainer = run_here(
        base
        | {"run_name": "a", "trainer.max_steps": 60, "callbacks.checkpoint.every_n_steps": 4}
        | {f"{early}._target_": "lightning.pytorch.callbacks.EarlyStopping", f"{early}.monitor": "val/loss"}
        | {f"{early}.min_delta": 10, f"{early}.patience": 1}
        | {f"{best}._target_": "lightning.pytorch.callbacks.ModelCheckpoint", f"{best}.monitor": "val/mlm_loss"}
        | {f"{best}.dirpath": tmp_path / "best"}
        | {f"{csv}._target_": "lightning.pytorch.loggers.CSVLogger", f"{csv}.save_dir": tmp_path / "csv"}
    )
    run_dir = tmp_path / "runs" / "a"
    assert trainer.global_step == 10
    assert (run_dir / "checkpoints" / "step-0000010.ckpt").is_file()
    columns = read_columns(run_dir / "metrics.csv")
    assert columns["val/loss"][0] == [5, 10]
    (saver,) = (each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint))
    assert saver.best_model_score.item() == min(columns["val/mlm_loss"][1])
    assert Path(saver.best_model_path).is_file()
    last = {name: values[-1] for name, (_, values) in columns.items()}
    assert {name: value.item() for name, value in trainer.callback_metrics.items()} == last
    (settings,) = (tmp_path / "csv").rglob("hparams.yaml")
    logged = OmegaConf.load(settings)
    assert isinstance(logged, DictConfig)
    assert set(logged.pop("about")) == {"version", "commit", "corpus", "tokenizer_sha256"}
    assert logged == OmegaConf.load(run_dir / "config.yaml")


def test_settings_are_not_changed(base: Settings) -> None:
    cfg = compose_here("pretrain", base | {"run_name": "a"})
    before = OmegaConf.to_container(cfg)
    pretrain(cfg)
    assert OmegaConf.to_container(cfg) == before


def test_another_stream_is_refused_on_resume(base: Settings, tmp_path: Path) -> None:
    run_here(base | {"run_name": "a"})
    with pytest.raises(ValueError, match="seed was 0 and is 1"):
        run_here(base | {"run_name": "a", "resume": "auto", "seed": 1, "trainer.max_steps": 20})


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_equal_one(base: Settings, tmp_path: Path, strategy: str) -> None:
    """Loss by loss; then one process continues what the two have begun, from a file or a sharded folder."""
    settings = base | NO_DROPOUT
    run_here(settings | {"run_name": "one"})
    two = settings | {"strategy": strategy, "run_name": "two", "trainer.devices": 2}
    result = run_apart(two, tmp_path)
    assert result.returncode == 0, result.stderr
    assert_close(tmp_path / "runs" / "two", tmp_path / "runs" / "one")
    checkpoint = tmp_path / "runs" / "two" / "checkpoints" / "step-0000010.ckpt"
    run_here(settings | {"run_name": "back", "resume": checkpoint})
    assert_same_end(tmp_path / "runs" / "back", tmp_path / "runs" / "one")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_continue_the_run_of_one(base: Settings, tmp_path: Path, strategy: str) -> None:
    """With other micro-batches, from the middle of the run."""
    settings = base | NO_DROPOUT
    run_here(settings | {"run_name": "one"})
    checkpoint = tmp_path / "runs" / "one" / "checkpoints" / "step-0000010.ckpt"
    two = {"strategy": strategy, "trainer.devices": 2, "data.micro_batch_size": 4}
    result = run_apart(settings | two | {"run_name": "part", "resume": checkpoint}, tmp_path)
    assert result.returncode == 0, result.stderr
    assert_same_end(tmp_path / "runs" / "part", tmp_path / "runs" / "one")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_torchrun_equals_one_process(base: Settings, tmp_path: Path, strategy: str) -> None:
    settings = base | NO_DROPOUT
    run_here(settings | {"run_name": "one"})
    result = run_apart(settings | {"strategy": strategy, "run_name": "two"}, tmp_path, torchrun(2))
    assert result.returncode == 0, result.stderr
    assert_close(tmp_path / "runs" / "two", tmp_path / "runs" / "one")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_themselves_to_the_last_digit(base: Settings, tmp_path: Path, strategy: str) -> None:
    settings = base | {"strategy": strategy, "trainer.devices": 2, "callbacks.checkpoint.keep_last": None}
    assert run_apart(settings | {"run_name": "whole"}, tmp_path).returncode == 0
    checkpoint = tmp_path / "runs" / "whole" / "checkpoints" / "step-0000005.ckpt"
    result = run_apart(settings | {"run_name": "part", "resume": checkpoint}, tmp_path)
    assert result.returncode == 0, result.stderr
    found, expected = (repeatable(tmp_path / "runs" / name) for name in ("part", "whole"))
    assert found.pop(5).items() <= expected[5].items()
    assert found == {step: row for step, row in expected.items() if step > 5}


def test_wandb_is_offline_without_an_account_and_keeps_the_steps(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    result = run_apart(base | {"logger": "wandb", "run_name": "a"}, tmp_path)
    assert result.returncode == 0, result.stderr
    (part,) = (tmp_path / "runs" / "a" / "wandb").glob("offline-run-*")
    assert list(part.rglob("guesses_*.table.json"))
    assert f"upload it with: wandb sync {tmp_path}/runs/a/wandb/offline-run-*-" in result.stdout
    config = wandb_config(tmp_path / "runs" / "a")
    assert config["optimizer"]["lr"] == 3e-3
    assert config["data"]["path"] == str(base["data.path"])
    about, manifest = config["about"], Manifest.load(Path(str(base["data.path"])))
    assert about["tokenizer_sha256"] == manifest.tokenizer_sha256
    assert about["corpus"]["sha256"] == manifest.content_sha256
    assert about["corpus"]["splits"]["train"]["documents"] == 108
    assert about["commit"] == commit()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.micro_batch_size": 5}, "data.global_batch_size=32 is not a multiple of data.micro_batch_size=5"),
        ({"data.seq_len": 65}, "data.seq_len=65 is above model.max_position_embeddings=64"),
        ({"trainer.precision": "fp4"}, "trainer.precision=fp4 is not one of"),
        ({"trainer.devices": 2}, "strategy=single runs one process"),
        ({"data.path": "/nowhere"}, "/nowhere is not a folder prepared by bert-prepare"),
        ({"run_name": "a b"}, "run_name must be letters"),
        ({"resume": "/nowhere.ckpt"}, "resume=/nowhere.ckpt does not exist"),
        (
            {"callbacks.checkpoint.every_n_steps": 0},
            "callbacks.checkpoint.every_n_steps must be a whole number",
        ),
        ({"schedule.warmup_steps": 15}, "schedule.warmup_steps=15 does not fit trainer.max_steps=14"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    base: Settings, tmp_path: Path, changes: Settings, message: str
) -> None:
    with pytest.raises((ValueError, InstantiationException)) as raised:
        run_here(base | changes)
    error: BaseException = raised.value
    while isinstance(error.__cause__, ValueError):
        error = error.__cause__
    assert message in str(error)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_altered_shard_stops_the_run_with_its_name(base: Settings, tmp_path: Path, num_workers: int) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(str(base["data.path"]), folder)
    shard = folder / "train" / "part-00003.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"^shard .*part-00003.tar was altered: .*manifest$"):
        run_here(base | {"data.path": folder, "data.num_workers": num_workers, "run_name": "a"})
    run_here(base | {"run_name": "a"})  # nothing was trained, so nothing is in the way of a new run


def test_a_corpus_without_a_held_out_split_trains_and_is_saved(
    base: Settings, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = write_prepared(tmp_path / "all", tokenizer, [tiny_texts(30, seed=1)], [])
    run_here(base | {"data.path": folder, "run_name": "a"})
    columns = read_columns(tmp_path / "runs" / "a" / "metrics.csv")
    assert "train/loss" in columns
    assert not any(name.startswith("val/") for name in columns)
    assert (tmp_path / "runs" / "a" / "checkpoints" / "step-0000014.ckpt").is_file()


def test_a_new_run_can_begin_with_the_weights_of_another(base: Settings, tmp_path: Path) -> None:
    run_here(base | {"run_name": "a", "trainer.max_steps": 60})
    output = export(OmegaConf.create({"checkpoint": str(tmp_path / "runs" / "a"), "output_dir": str(tmp_path / "hf")}))
    run_here(base | {"run_name": "b", "init_from": output, "optimizer.lr": 1e-9})
    first, second = (read_columns(tmp_path / "runs" / name / "metrics.csv")["val/loss"][1] for name in "ab")
    assert second == pytest.approx([first[-1]] * len(second), rel=1e-5)
    with pytest.raises(ValueError, match=r"model\.hidden_size=16, but init_from has 32"):
        run_here(base | {"run_name": "c", "init_from": output, "model.hidden_size": 16})
    shutil.rmtree(output)  # a run that goes on has weights of its own
    again = base | {"run_name": "b", "init_from": output, "optimizer.lr": 1e-9, "resume": "auto"}
    assert pretrain(compose_here("pretrain", again)) is None
    assert run_here(again | {"trainer.max_steps": 15, "schedule": "constant"}).global_step == 15


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.num_hidden_layers": 1}, r"has model\.num_hidden_layers=2, the settings say 1"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"masking": "whole_word"}, "masking was"),
        ({"trainer.max_steps": 3}, r"is at step 14, past trainer\.max_steps=3"),
    ],
)
def test_a_refused_resume_changes_nothing(base: Settings, tmp_path: Path, changes: Settings, said: str) -> None:
    run_here(base | {"run_name": "a"})
    run_dir = tmp_path / "runs" / "a"
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=said):
        run_here(base | {"run_name": "a", "resume": "auto"} | changes)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_a_vocabulary_of_another_size_than_that_of_the_data_is_refused(base: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^model\.vocab_size=999, but the vocabulary .* has \d+ entries"):
        run_here(base | {"run_name": "a", "model.vocab_size": 999})
    assert not (tmp_path / "runs").exists()


def test_what_is_no_checkpoint_is_refused_before_a_folder_is_made(base: Settings, tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"x\.ckpt cannot be read"):
        run_here(base | {"run_name": "a", "resume": tmp_path / "x.ckpt"})
    for changes, said in [
        ({"data.validation_samples": 0}, r"data\.validation_samples must be .*got 0"),
        ({"data.num_workers": -1}, r"data\.num_workers must be .*got -1"),
        ({"data.retries": -1}, r"data\.retries must be .*got -1"),
        ({"data.retries": None}, r"data\.retries must be .*got None"),
        ({"data.cache_bytes": 0}, r"data\.cache_bytes must be .*got 0"),
        ({"data.path": "ftp://store/data"}, r"data\.path=ftp://store/data is neither"),
        ({"optimizer.lr": -1}, "learning rate"),
        ({"seed": -1}, "seed must be .*got -1"),
    ]:
        with pytest.raises((ValueError, InstantiationException), match=f"(?i){said}"):
            run_here(base | {"run_name": "a"} | changes)
    assert not (tmp_path / "runs").exists()


def test_a_missing_or_short_shard_and_another_tokenizer_are_found_at_once(base: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(str(base["data.path"]), folder)
    settings = base | {"data.path": folder, "run_name": "a"}
    shard = folder / "train" / "part-00003.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"part-00003\.tar is truncated"):
        run_here(settings)
    shard.unlink()
    with pytest.raises(ValueError, match=r"part-00003\.tar is missing"):
        run_here(settings)
    shard.write_bytes(content)
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"##s"', '"##Z"'))
    with pytest.raises(ValueError, match="is not the one that its shards were made with"):
        run_here(settings)
    assert not (tmp_path / "runs").exists()


def test_resuming_without_a_checkpoint_says_that_it_begins_again(
    base: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = base | {"run_name": "a", "resume": "auto", "trainer.max_steps": 5, "callbacks.checkpoint.keep_last": 1}
    run_here(settings)
    assert "begins again" not in caplog.text
    (checkpoint,) = (tmp_path / "runs" / "a" / "checkpoints").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert run_here(settings).global_step == 5
    assert "step-0000005.ckpt is damaged or was cut short; it is passed over" in caplog.text
    assert "holds metrics but no whole checkpoint: the run begins again" in caplog.text


def test_losses_that_are_not_finite_name_steps_examples_and_the_last_good_checkpoint(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 8 on, batches of 32; checkpoints after every second step, some of them after bad steps."""
    poison_from(monkeypatch, 8)
    settings = base | {"run_name": "a", "max_skipped_steps": 3, "callbacks.checkpoint.keep_last": None}
    with pytest.raises(ValueError, match=r"not finite in steps 8 to 1[0-2]") as raised:
        run_here(settings | {"callbacks.checkpoint.every_n_steps": 2, "trainer.log_every_n_steps": 1})
    assert "examples 224 to 319 of the stream" in str(raised.value)
    assert f"{tmp_path}/runs/a/checkpoints/step-0000006.ckpt. Lower" in str(raised.value)


def poison_from(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    plain = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: list[PackedBatch], batch_idx: int) -> None:
        if self.global_step + 1 >= step:
            quantities = self.objective.quantities
            self.objective.quantities = {name: replace(one, loss_weight=nan) for name, one in quantities.items()}
        plain(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def test_a_run_is_never_overwritten(base: Settings, tmp_path: Path) -> None:
    run_here(base | {"run_name": "a"})
    with pytest.raises(ValueError, match="holds a run; resume=auto continues it"):
        run_here(base | {"run_name": "a"})


def test_the_command_says_one_line(base: Settings, tmp_path: Path) -> None:
    for changes in ({"data.seq_len": 100}, {"trainer.nonsense": 1}):
        result = run_apart(base | changes, tmp_path)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1
