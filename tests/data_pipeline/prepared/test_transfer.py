"""Transfers from a server that fails in every way: tried again, resumed or refused, never taken for whole."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.prepared import transfer
from data_pipeline.prepared.storage import HttpStorage, PipeStorage, open_storage
from data_pipeline.prepared.transfer import fetch
from tests.support.faulty_server import FaultyServer, serve

NAME = "train/part-00000.tar"
CONTENT = np.random.default_rng(0).bytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, noted instead of waited for."""
    noted: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", noted.append)
    return noted


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    (tmp_path / "train").mkdir()
    (tmp_path / NAME).write_bytes(CONTENT)
    with serve(tmp_path) as running:
        yield running


def fetched(server: FaultyServer, retries: int = 5, timeout: float = 20, held: bytes = b"") -> bytes:
    file = io.BytesIO(held)
    fetch(HttpStorage(server.url, timeout), NAME, file, retries, len(CONTENT), SHA256)
    return file.getvalue()


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ([], 1),
        ([503, 503, 503], 4),
        ([500, 502, 429, 408, 504], 6),
        (["drop", "drop"], 3),
        (["reset"], 2),
        (["truncate"], 2),
        (["wrong"], 2),
        (["longer"], 2),
        (["drop", "no range"], 2),
        (["drop", "other range"], 3),
        (["wrong", 503, "reset", "truncate"], 5),
        (["slow"], 1),
    ],
    ids=str,
)
def test_what_passes_is_tried_again_until_the_file_is_whole(
    server: FaultyServer, faults: list[str | int], requests: int
) -> None:
    server.faults[NAME] = list(faults)
    assert fetched(server) == CONTENT
    assert len(server.requests) == requests


def test_a_server_that_stops_sending_is_given_up_and_resumed(server: FaultyServer) -> None:
    server.faults[NAME] = ["stall"]
    assert fetched(server, timeout=0.3) == CONTENT
    assert server.requests[1][1] is not None


def test_a_broken_transfer_goes_on_where_it_broke(server: FaultyServer) -> None:
    server.faults[NAME] = ["drop"]
    assert fetched(server) == CONTENT
    begin = int(server.requests[1][1].removeprefix("bytes=").removesuffix("-"))
    assert 100_000 < begin <= len(CONTENT) // 2


@pytest.mark.parametrize(("held", "requests"), [(CONTENT[:1000], 1), (CONTENT, 1), (CONTENT + b"x", 2), (b"other", 2)])
def test_what_is_there_is_gone_on_with_and_thrown_away_where_it_is_wrong(
    server: FaultyServer, held: bytes, requests: int
) -> None:
    assert fetched(server, held=held) == CONTENT
    assert len(server.requests) == requests


@pytest.mark.parametrize(("status", "said"), [(404, "does not exist"), (403, "is forbidden"), (401, "needs a login")])
def test_what_cannot_pass_ends_at_once(server: FaultyServer, status: int, said: str, pauses: list[float]) -> None:
    server.faults[NAME] = [status]
    with pytest.raises(ValueError, match=rf"^{server.url}/{NAME} {said}: HTTP {status}"):
        fetched(server)
    assert len(server.requests) == 1
    assert not pauses


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (503, "HTTP 503 Service Unavailable"),
        ("wrong", "content whose sha256 is not the one in the manifest"),
        ("truncate", "200000 bytes, the manifest says 400000"),
        ("longer", "more than the 400000 bytes the manifest says"),
        ("drop", "bytes read"),
    ],
)
def test_the_error_names_the_address_the_attempts_and_the_last_cause(
    server: FaultyServer, fault: str | int, cause: str
) -> None:
    server.faults[NAME] = [fault] * 3
    with pytest.raises(
        ValueError, match=rf"^{server.url}/{NAME} could not be fetched in 3 attempts \(data\.retries=2\)"
    ):
        fetched(server, retries=2)
    server.faults[NAME] = [fault] * 3
    with pytest.raises(ValueError, match=cause):
        fetched(server, retries=2)


def test_a_server_that_is_not_there_is_named(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9/data/x could not be fetched in 4 attempts.*refused"):
        fetch(HttpStorage("http://127.0.0.1:9/data"), "x", io.BytesIO(), 3)
    assert len(pauses) == 3


def test_pauses_double_up_to_a_limit_and_vary(server: FaultyServer, pauses: list[float]) -> None:
    server.faults[NAME] = [503] * 12
    assert fetched(server, retries=12) == CONTENT
    full = [min(30, 0.5 * 2**attempt) for attempt in range(12)]
    assert all(half / 2 <= pause <= half for pause, half in zip(pauses, full, strict=True))
    assert len({pause / half for pause, half in zip(pauses, full, strict=True)}) == 12


def test_a_password_and_a_signature_go_to_the_server_and_not_into_errors(server: FaultyServer) -> None:
    storage = open_storage(server.url.replace("//", "//me:secret@") + "/?signature=hidden")
    file = io.BytesIO()
    fetch(storage, NAME, file, 0)
    assert file.getvalue() == CONTENT
    for fault in (404, 503):
        server.faults[NAME] = [fault]
        with pytest.raises(ValueError, match=NAME) as caught:
            fetch(storage, NAME, io.BytesIO(), 0)
        assert "secret" not in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_a_full_disk_is_not_tried_again(server: FaultyServer) -> None:
    with open("/dev/full", "r+b", buffering=0) as full, pytest.raises(ValueError, match=r"data\.cache_dir.*No space"):
        fetch(HttpStorage(server.url), NAME, full, 5, len(CONTENT), SHA256)
    assert len(server.requests) == 1


def test_a_failing_command_is_tried_again_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "part.tar").write_bytes(CONTENT)
    once = tmp_path / "once"
    first = f"mkdir {once} 2>/dev/null && head -c 1000 {tmp_path}/{{name}} && exit 3"
    command = f"pipe:{first}; cat {tmp_path}/{{name}}"
    file = io.BytesIO()
    fetch(PipeStorage(command), "part.tar", file, 1, len(CONTENT), SHA256)
    assert file.getvalue() == CONTENT


def test_a_file_without_end_is_refused_at_its_limit_and_not_asked_for_again(server: FaultyServer) -> None:
    server.faults[NAME] = ["endless"]
    file = io.BytesIO()
    with pytest.raises(ValueError, match=rf"{NAME} has more than 1000000 bytes; it is refused"):
        fetch(HttpStorage(server.url), NAME, file, 5, most_bytes=1_000_000)
    assert file.tell() < 2_000_000
    assert len(server.requests) == 1


def test_a_command_without_end_is_ended() -> None:
    file = io.BytesIO()
    with pytest.raises(ValueError, match="has more than 1000000 bytes"):
        fetch(PipeStorage("pipe:yes {name}"), NAME, file, 5, most_bytes=1_000_000)
    assert file.tell() < 2_000_000


def test_what_is_compressed_on_the_way_is_refused(server: FaultyServer) -> None:
    server.faults[NAME] = ["gzip"]
    with pytest.raises(ValueError, match=f"{NAME} comes with Content-Encoding gzip, though"):
        fetched(server)
    assert len(server.requests) == 1
