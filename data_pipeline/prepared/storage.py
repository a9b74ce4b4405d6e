"""Places other than this machine that can hold a prepared folder, one class a scheme. Only bytes are transferred.

https://host/data                     requests
s3://bucket/data, gs://bucket/data    fsspec with s3fs or gcsfs (the extra `remote`)
pipe:ssh store cat /data/{name}       a command of the user's; {name} becomes the path of a file in the folder
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import IO, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import fsspec
import requests

from data_pipeline.untrusted.escaping import printable

CHUNK_BYTES = 1 << 16
PART_BYTES = 1 << 23
TIMEOUT_SECONDS = 60.0
ERROR_BYTES = 4096
_REFUSALS = {401: "needs a login", 403: "is forbidden", 404: "does not exist", 410: "is gone"}
_PASSING = (408, 425, 429)


class Storage(Protocol):
    """A folder elsewhere. Errors are ValueErrors if another attempt cannot help, OSErrors if it may."""

    def url(self, name: str) -> str:
        """Return the whole address of a file of the folder, which identifies it in a cache."""

    def read(self, name: str, begin: int) -> Generator[bytes, None, None]:
        """Yield the bytes of a file from `begin` on."""


def is_remote(path: object) -> bool:
    """Return whether a path is an address rather than a folder of this machine.

    >>> is_remote("s3://bucket/data"), is_remote("pipe:cat /data/{name}"), is_remote("/data"), is_remote("a:b/c")
    (True, True, False, False)
    """
    return _scheme(str(path)) is not None


def _scheme(path: str) -> str | None:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://|(pipe):", path)
    return (found[1] or found[2]).lower() if found else None


def open_storage(path: str) -> Storage:
    """Return the storage an address belongs to; ValueError if its scheme is unknown."""
    scheme = _scheme(path)
    if scheme not in SCHEMES:
        raise ValueError(f"data.path={path} is neither a folder nor an address of {', '.join(SCHEMES)}")
    return SCHEMES[scheme](path)


class DamagedError(OSError):
    """The transfer cannot be continued from what was fetched; another attempt starts from the beginning."""


def shown(url: str) -> str:
    """Return an address as errors show it, without a password or the key in a signed link.

    >>> shown("https://me:secret@host/data/manifest.json?sig=secret"), shown("s3://bucket/data")
    ('https://host/data/manifest.json', 's3://bucket/data')
    """
    if url.startswith("pipe:"):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class HttpStorage:
    """A folder behind a web server. A broken transfer continues where it broke if the server supports ranges.

    Attributes:
        root: The folder's address; a query in it (a signed link) goes along with every file.
        timeout: Seconds without a byte before the connection is given up.
    """

    root: str
    timeout: float = TIMEOUT_SECONDS

    def url(self, name: str) -> str:
        """Return the address of a file."""
        parts = urlsplit(self.root)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))

    def read(self, name: str, begin: int) -> Generator[bytes, None, None]:
        """Yield the bytes of a file from `begin` on; if the server sends the whole file, its beginning is dropped."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
        try:
            with requests.get(self.url(name), headers=headers, stream=True, timeout=self.timeout) as response:
                if response.status_code == 416 and begin:
                    return  # nothing comes after what is there
                self._check_status(response, name)
                self._check_encoding(response, name)
                first = _first_byte(response) if response.status_code == 206 else 0
                yield from _from(begin - first, response.iter_content(CHUNK_BYTES))
        except requests.exceptions.InvalidURL as error:
            raise ValueError(f"data.path={shown(self.root)} is no address: {error}") from error
        except requests.RequestException as error:
            query = urlsplit(self.root).query
            text = str(error).replace(f"?{query}", "?...") if query else str(error)
            raise OSError(f"{type(error).__name__}: {text}") from error

    def _check_status(self, response: requests.Response, name: str) -> None:
        code = response.status_code
        if code in (200, 206):
            return
        said = f"HTTP {code} {printable(str(response.reason)[:200])}"
        if code >= 500 or code in _PASSING:
            raise OSError(said)
        raise ValueError(f"{shown(self.url(name))} {_REFUSALS.get(code, 'cannot be fetched')}: {said}")

    def _check_encoding(self, response: requests.Response, name: str) -> None:
        """Refuse what is compressed on the way: a few bytes may become more than a disk holds."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            raise ValueError(
                f"{shown(self.url(name))} comes with Content-Encoding {printable(encoding[:60])}, though the request "
                "asks for none; have the server send the file as it is"
            )


def _first_byte(response: requests.Response) -> int:
    """Return the offset at which a partial answer begins."""
    said = response.headers.get("Content-Range", "")
    found = re.match(r"bytes (\d{1,18})-", said)
    if found is None:
        raise OSError(f"the server sent a part of the file without saying which: Content-Range is {said!r}")
    return int(found[1])


def _from(begin: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks without their first `begin` bytes."""
    if begin < 0:
        raise DamagedError(f"a part that begins {-begin} bytes too late")
    for chunk in chunks:
        yield chunk[begin:]
        begin = max(0, begin - len(chunk))


@dataclass(frozen=True, slots=True)
class ObjectStorage:
    """A prefix of a bucket, through fsspec: s3fs or gcsfs find the credentials, region and endpoint as their tools do.

    Attributes:
        root: Bucket and prefix, with the scheme.
    """

    root: str

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str, begin: int) -> Generator[bytes, None, None]:
        """Yield the bytes of an object from `begin` on, one request a part."""
        url = self.url(name)
        try:
            # The filesystem is looked up anew: one made before a fork cannot be used after it.
            filesystem, path = fsspec.core.url_to_fs(url)
            with filesystem.open(path, "rb", cache_type="none") as file:
                file.seek(begin)
                while part := file.read(PART_BYTES):
                    yield part
        except ImportError as error:
            raise ValueError(f"data.path={self.root} needs the extra `remote`: {error}") from error
        except FileNotFoundError as error:
            raise ValueError(f"{url} does not exist: {error}") from error
        except PermissionError as error:
            raise ValueError(f"{url} is forbidden: {error}") from error
        except (OSError, ValueError):
            raise
        except Exception as error:  # each client library has its own family of errors
            if "Credentials" in type(error).__name__:
                raise ValueError(f"{url} needs a login: {error}") from error
            raise OSError(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class PipeStorage:
    """The standard output of a command of the user; nothing else runs a shell.

    Attributes:
        root: `pipe:` and the command; every {name} in it becomes the path of a file, which the manifest
            restricts to characters that have no meaning to a shell.
        timeout: Seconds without a byte before the command is ended.
    """

    root: str
    timeout: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if "{name}" not in self.root:
            raise ValueError(f"data.path={self.root} does not say where the name of the file goes: write {{name}}")

    def url(self, name: str) -> str:
        """Return the command for a file."""
        return self.root.replace("{name}", name)

    def read(self, name: str, begin: int) -> Generator[bytes, None, None]:
        """Yield what the command writes, without the first `begin` bytes; its exit status must be 0."""
        command = self.url(name).removeprefix("pipe:")
        with tempfile.TemporaryFile() as said, self._started(command, said) as process:
            yield from _from(begin, self._output(process))
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                raise OSError(f"it closed its output and did not end in {self.timeout:g} seconds") from None
            said.seek(max(0, said.seek(0, os.SEEK_END) - ERROR_BYTES))
            lines = printable(" ".join(said.read(ERROR_BYTES).decode(errors="replace").split()))[-500:]
        if status in (126, 127):
            raise ValueError(f"{self.url(name)} cannot be run: {lines}")
        if status:
            raise OSError(f"exit status {status}: {lines}")

    @contextlib.contextmanager
    def _started(self, command: str, said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _output(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        assert process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            while ready.select(self.timeout):
                if not (chunk := os.read(process.stdout.fileno(), CHUNK_BYTES)):
                    return
                yield chunk
        raise OSError(f"no byte came for {self.timeout:g} seconds")


SCHEMES: dict[str, Callable[[str], Storage]] = {
    "http": HttpStorage,
    "https": HttpStorage,
    "s3": ObjectStorage,
    "gs": ObjectStorage,
    "pipe": PipeStorage,
}
