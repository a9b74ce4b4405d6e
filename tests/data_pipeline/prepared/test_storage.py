"""Addresses and what is read from them: commands, a real S3 server, a bucket of Google's."""

import contextlib
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from data_pipeline.prepared.storage import ObjectStorage, PipeStorage, open_storage
from tests.support.checkout import run_python
from tests.support.object_store import s3_server

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.mark.parametrize("path", ["ftp://host/data", "hf://me/data", "S4://bucket"])
def test_an_unknown_scheme_is_refused_with_those_there_are(path: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.path={path} .*http, https, s3, gs, pipe"):
        open_storage(path)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("http://host/data", "http://host/data/train/a.tar"),
        ("https://host/data/?sig=a%2Fb", "https://host/data/train/a.tar?sig=a%2Fb"),
        ("s3://bucket", "s3://bucket/train/a.tar"),
        ("gs://bucket/data/", "gs://bucket/data/train/a.tar"),
        ("pipe:cat /data/{name} | tee {name}", "pipe:cat /data/train/a.tar | tee train/a.tar"),
    ],
)
def test_the_address_of_a_file(root: str, expected: str) -> None:
    assert open_storage(root).url("train/a.tar") == expected


def read(command: str, begin: int = 0, timeout: float = 20) -> bytes:
    return b"".join(PipeStorage(command, timeout).read("part.tar", begin))


def test_a_command_is_read_from_where_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("part.tar").write_bytes(CONTENT)
    assert read("pipe:cat {name}") == CONTENT
    assert read("pipe:cat {name}", 123_456) == CONTENT[123_456:]
    assert read("pipe:gzip -c {name} | gunzip") == CONTENT


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("pipe:echo half; echo no such bucket >&2; exit 1 # {name}", "^exit status 1: no such bucket$"),
        ("pipe:cat /nowhere/{name} | cat", r"^exit status 1: cat: /nowhere/part\.tar"),
        ("pipe:kill -9 $$ # {name}", "^exit status -9"),
    ],
)
def test_a_command_that_fails_is_an_error_whatever_it_wrote(command: str, said: str) -> None:
    with pytest.raises(OSError, match=said):
        read(command)


def test_a_command_that_is_not_there_is_not_tried_again() -> None:
    with pytest.raises(ValueError, match=r"pipe:no-such-program part\.tar cannot be run: .*not found"):
        read("pipe:no-such-program {name}")


def test_a_command_without_a_place_for_the_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.path=pipe:cat /data/x does not say where"):
        open_storage("pipe:cat /data/x")


@pytest.mark.parametrize("command", ["echo begun; sleep 60", "echo begun; sleep 60 >/dev/null & exec >&-; wait"])
def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, command: str) -> None:
    mark = tmp_path / "group"
    with pytest.raises(OSError, match=r"no byte came for 0\.3 seconds|did not end in 0\.3 seconds"):
        read(f"pipe:echo $$ > {mark}; {command} # {{name}}", timeout=0.3)
    while processes(int(mark.read_text())):
        time.sleep(0.01)


def processes(group: int) -> list[str]:
    """Commands of the living processes of a group."""
    fields = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields.append(re.fullmatch(r"\d+ \((.*)\) (\S) \d+ (\d+) .*", path.read_text().strip(), re.DOTALL))
    return [found[1] for found in fields if found and int(found[3]) == group and found[2] not in "ZX"]


def test_a_command_is_ended_where_the_reader_stops(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    chunks = PipeStorage(f"pipe:echo $$ > {mark}; yes # {{name}}").read("x", 0)
    list(itertools.islice(chunks, 3))
    chunks.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of a real S3 server with one object."""
    with s3_server(tmp_path_factory.mktemp("aws")) as client:
        client.create_bucket(Bucket="corpus")
        client.put_object(Bucket="corpus", Key="data/train/part.tar", Body=CONTENT)
        yield "s3://corpus/data"


@pytest.mark.parametrize("begin", [0, 1, 299_999, 300_000])
def test_an_object_is_read_from_where_it_is_asked(bucket: str, begin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.prepared.storage.PART_BYTES", 100_000)
    assert b"".join(ObjectStorage(bucket).read("train/part.tar", begin)) == CONTENT[begin:]


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3://corpus/data", "s3://corpus/data/train/none.tar does not exist"), ("s3://no-bucket", "does not exist")],
)
def test_an_object_that_is_not_there_is_named(bucket: str, address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(ObjectStorage(address).read("train/none.tar", 0))


def test_missing_credentials_are_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from data_pipeline.prepared.storage import ObjectStorage; list(ObjectStorage('s3://b/x').read('a', 0))"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    done = run_python(script, AWS_EC2_METADATA_DISABLED="true", HOME=str(tmp_path))
    assert "ValueError: s3://b/x/a needs a login: Unable to locate credentials" in done.stderr


def test_a_missing_client_library_is_said_with_the_extra_that_brings_it() -> None:
    script = "import sys; sys.modules['s3fs'] = None; from data_pipeline.prepared.storage import ObjectStorage as O; "
    script += "list(O('s3://b/x').read('a', 0))"
    done = run_python(script)
    assert "ValueError: data.path=s3://b/x needs the extra `remote`: " in done.stderr


def test_what_is_no_address_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"data\.path=http:///data is no address"):
        list(open_storage("http:///data").read("a", 0))


class GoogleBucket(BaseHTTPRequestHandler):
    """The two requests of Google's JSON interface that reading an object takes."""

    def do_GET(self) -> None:
        whole = urlsplit(self.path).path.endswith("/b/corpus/o/data%2Ftrain%2Fpart.tar")
        status, body = (200, CONTENT) if whole and "alt=media" in self.path else (404, b"{}")
        if whole and "alt=media" not in self.path:
            about = {"name": "data/train/part.tar", "bucket": "corpus", "size": str(len(CONTENT)), "generation": "1"}
            status, body = 200, json.dumps(about).encode()
        elif status == 200 and (asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
            status, body = 206, CONTENT[int(asked[1]) : int(asked[2]) + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_bucket_of_google_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.prepared.storage.PART_BYTES", 100_000)
    with ThreadingHTTPServer(("127.0.0.1", 0), GoogleBucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        storage = open_storage("gs://corpus/data")
        assert b"".join(storage.read("train/part.tar", 0)) == CONTENT
        assert b"".join(storage.read("train/part.tar", 299_990)) == CONTENT[299_990:]
        with pytest.raises(ValueError, match=r"gs://corpus/data/none\.tar does not exist"):
            list(storage.read("none.tar", 0))
        server.shutdown()
