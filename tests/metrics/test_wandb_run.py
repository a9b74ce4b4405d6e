"""W&B: a folder has one run, with its settings; whatever W&B cannot do, the run trains on and says so once."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.metrics.wandb_account import refusal, wandb_key
from bert_lightning.metrics.wandb_checkpoints import chosen
from bert_lightning.metrics.wandb_run import WandbMetrics
from bert_lightning.settings.run_folder import RunFolder
from tests.support.runs import wandb_config
from tests.support.wandb_server import WandbServer, wandb_server

KEY = "0" * 40


class Refusing(BaseHTTPRequestHandler):
    """A server that takes no key."""

    def do_POST(self) -> None:
        content = json.dumps({"errors": [{"message": "user is not logged in"}]}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def logged(run_dir: Path, name: str = "a") -> WandbMetrics:
    """Log two steps; returns the logger after its end."""
    metrics = WandbMetrics(name, "tests", run_dir)
    metrics.log_hyperparams({"optimizer": {"lr": 0.1}})
    metrics.log_metrics({"train/loss": 1.0}, 1)
    assert metrics.experiment.settings.mode == "offline"
    metrics.finalize("success")
    return metrics


@pytest.mark.usefixtures("no_account")
def test_two_folders_are_two_runs_and_a_resume_is_the_same_one(tmp_path: Path) -> None:
    for folder in ("first", "second", "first"):
        logged(tmp_path / folder)
    ids = {folder: RunFolder(tmp_path / folder).wandb_run() for folder in ("first", "second")}
    assert ids["first"] != ids["second"]
    for folder, number in ids.items():
        parts = [path.name for path in (tmp_path / folder / "wandb").glob("offline-run-*")]
        assert parts
        assert all(re.search(rf"-{number}(-\d+)?$", part) for part in parts)  # W&B counts parts of one second


def test_a_folder_keeps_its_id(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a")
    made = folder.wandb_run()
    assert RunFolder(tmp_path / "a").wandb_run() == made
    assert folder.wandb_id.read_text() == f"{made}\n"
    folder.wandb_id.write_text("")  # as a full disk leaves it
    assert len(folder.wandb_run()) == 12


def test_an_older_folder_goes_on_in_the_run_that_it_has(tmp_path: Path) -> None:
    for part in ("run-20260102_030405-bert-2", "offline-run-20260101_030405-bert", "latest-run", "debug.log"):
        (tmp_path / "wandb" / part).mkdir(parents=True)
    assert RunFolder(tmp_path).wandb_run() == "bert-2"


@pytest.mark.usefixtures("no_account")
def test_the_settings_are_in_the_config(tmp_path: Path) -> None:
    logged(tmp_path / "a")
    assert wandb_config(tmp_path / "a")["optimizer"] == {"lr": 0.1}


@pytest.mark.usefixtures("no_account")
def test_without_a_key_one_line_says_how_to_upload_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bert_lightning"):
        logged(tmp_path / "a")
    (said,) = [record.getMessage() for record in caplog.records if "W&B" in record.getMessage()]
    assert said.startswith("W&B: no key (WANDB_API_KEY or `wandb login`), so the run is kept offline")
    assert f"wandb sync {tmp_path}/a/wandb/offline-run-*-{RunFolder(tmp_path / 'a').wandb_run()}" in said


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize("case", ["no network", "wrong key", "no run in time"])
def test_what_keeps_w_and_b_from_working_keeps_the_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refusing_server: str, case: str
) -> None:
    """The last case: a server that answers, but with which no run can be opened in time."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", refusing_server if case == "wrong key" else "http://127.0.0.1:9")
    if case == "no run in time":
        monkeypatch.setattr("bert_lightning.metrics.wandb_run.refusal", lambda address, key: None)
        monkeypatch.setattr("bert_lightning.metrics.wandb_run.INIT_SECONDS", 2.0)
    with caplog.at_level("INFO", "bert_lightning"):
        logged(tmp_path / "a")
    said = [record.getMessage() for record in caplog.records if "W&B" in record.getMessage()]
    assert len(said) == 1
    assert "so the run is kept offline; upload it with: wandb sync" in said[0]
    assert ("does not answer" in said[0]) == (case == "no network")
    assert ("does not take the key" in said[0]) == (case == "wrong key")


@pytest.mark.usefixtures("no_account")
def test_a_folder_that_w_and_b_cannot_use_costs_the_curves_there_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    plain = wandb.init

    def init(**options: object) -> object:
        if options["mode"] != "disabled":
            raise OSError(28, "No space left on device")
        return plain(**options)

    monkeypatch.setattr(wandb, "init", init)
    metrics = WandbMetrics("a", "tests", tmp_path)
    metrics.log_metrics({"x": 1.0}, 1)
    metrics.finalize("success")
    assert "W&B is left out, metrics.csv has everything: [Errno 28] No space left" in caplog.text


def test_a_server_is_asked_whether_it_takes_the_key(refusing_server: str) -> None:
    assert refusal(refusing_server, KEY) == f"{refusing_server} does not take the key"
    assert "http://127.0.0.1:9 does not answer" in str(refusal("http://127.0.0.1:9", KEY))


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    """A connection that nobody accepts, as behind a firewall that drops what comes."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert "does not answer" in str(refusal(address, KEY, seconds=0.2))
        assert time.monotonic() - began < 5


def test_the_name_of_a_server_is_not_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def post(*arguments: object, **options: object) -> None:
        asked.wait(60)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "post", post)
    assert refusal("http://nowhere", KEY, seconds=0.1) == "http://nowhere does not answer in 0 s"
    asked.set()


@pytest.fixture
def server(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that this process is logged in to; W&B keeps the address it has begun with until it is torn down."""
    import wandb

    with wandb_server() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        wandb.teardown()
        yield server
        wandb.teardown()


def test_a_run_online_sends_what_the_server_lacks_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: WandbServer
) -> None:
    """Steps 1 to 3 are kept offline, 4 and 5 online, of which the server loses the last as in a kill; then 6."""
    folder = RunFolder(tmp_path)

    def part(steps: list[int]) -> None:
        file, metrics = MetricsCsv(tmp_path), WandbMetrics("a", "tests", tmp_path, tags=["first"], job_type="test")
        for step in steps:
            file.log_metrics({"val/loss": 10.0 / step}, step)
            metrics.log_metrics({"val/loss": 10.0 / step}, step)
        metrics.finalize("success")

    monkeypatch.setenv("WANDB_MODE", "offline")
    part([1, 2, 3])
    monkeypatch.delenv("WANDB_MODE")
    part([4, 5])
    run = server.runs[folder.wandb_run()]
    assert [row["_step"] for row in run.rows()] == [1, 2, 3, 4, 5]
    del run.history[-1]
    run.summary = json.dumps(json.loads(run.summary) | {"_step": 4, "trainer/step": 4})
    part([4, 5, 6])
    assert [row["_step"] for row in run.rows()] == [1, 2, 3, 4, 5, 6]
    assert [row["val/loss"] for row in run.rows()] == [10.0 / step for step in range(1, 7)]
    assert json.loads(run.summary)["best_step/val/loss"] == 6
    assert (run.values["jobType"], run.values["tags"]) == ("test", ["first"])
    (offline,) = folder.wandb.glob("offline-run-*")
    assert list(offline.glob("*.wandb.synced"))


def test_the_last_and_the_best_checkpoint_are_chosen_for_upload(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert chosen(folder, "both") == {}
    folder.checkpoints.mkdir()
    for step in (5, 10):
        folder.checkpoint(step).write_text(f"weights of {step}")
    folder.best.write_text(json.dumps({"checkpoint": folder.checkpoint(5).name}))
    assert chosen(folder, "last") == {folder.checkpoint(10): ["last"]}
    assert chosen(folder, "both") == {folder.checkpoint(10): ["last"], folder.checkpoint(5): ["best"]}


def test_checkpoints_are_uploaded_whole_when_the_run_ends(tmp_path: Path, server: WandbServer) -> None:
    """The best one is a file, the last one a folder of shards; the server gets their bytes before the commit."""
    folder = RunFolder(tmp_path)
    metrics = WandbMetrics("a", "tests", tmp_path, checkpoints="both")
    metrics.log_metrics({"val/loss": 1.0}, 10)
    folder.checkpoints.mkdir()
    folder.checkpoint(5).write_bytes(b"weights of 5" * 1000)
    folder.checkpoint(10).mkdir()
    for name in ("meta.pt", "__0_0.distcp"):
        (folder.checkpoint(10) / name).write_bytes(f"{name} of 10".encode())
    folder.best.write_text(json.dumps({"checkpoint": folder.checkpoint(5).name}))
    metrics.finalize("success")

    aliases, sent = {}, {}
    for identifier, artifact in server.artifacts.items():
        step = json.loads(artifact.values["metadata"])["step"]
        assert artifact.is_committed
        assert artifact.values["artifactCollectionName"] == f"checkpoint-{folder.wandb_run()}"
        aliases[step] = {each["alias"] for each in artifact.values["aliases"]} - {"latest"}
        sent |= {path.split("/", 1)[1]: content for path, content in server.uploads.items() if identifier in path}
    assert aliases == {5: {"best", "step-0000005"}, 10: {"last", "step-0000010"}}
    assert sent.pop("manifest")
    assert sent == {
        "step-0000005.ckpt": b"weights of 5" * 1000,
        "step-0000010.ckpt/meta.pt": b"meta.pt of 10",
        "step-0000010.ckpt/__0_0.distcp": b"__0_0.distcp of 10",
    }


def test_settings_that_w_and_b_would_misread_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger\.wandb\.checkpoints must be one of null, last, best, both; got all"):
        WandbMetrics("a", "tests", tmp_path, checkpoints="all")
    with pytest.raises(ValueError, match=r"logger\.wandb\.tags must be a list of words, such as \[first\]; got first"):
        WandbMetrics("a", "tests", tmp_path, tags="first")


def test_the_points_of_a_sweep_are_a_group(tmp_path: Path) -> None:
    assert WandbMetrics("lr/optimizer.lr=0.1", "tests", tmp_path)._wandb_init["group"] == "lr"
    assert WandbMetrics("a", "tests", tmp_path)._wandb_init["group"] is None
    assert WandbMetrics("a", "tests", tmp_path, group="mine")._wandb_init["group"] == "mine"


def test_an_account_is_a_key_in_the_environment_or_in_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_key() is None
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / "netrc").chmod(0o600)
    assert wandb_key() == "key"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_key() is None
    monkeypatch.setenv("WANDB_API_KEY", "another")
    assert wandb_key() == "another"
