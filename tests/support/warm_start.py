"""Commands that start within a second: a process that has imported what is slow forks one for each of them.

The imports of a command take 8 s; the suite starts hundreds of them. A fork has its own arguments, environment, folder
and streams, and imports the packages of the checkout itself. Variables that libraries read while they are imported come
too late for a fork, so a command whose environment differs in anything but HARMLESS starts as a process of its own.
"""

import array
import functools
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HARMLESS = ("PYTEST_", "COLUMNS", "WANDB_", "HOME", "TMPDIR", "XDG_")
"""Beginnings of the names of variables that commands read when they need them."""
_LENGTH_BYTES = 8


class WarmStart:
    """The process that forks.

    Args:
        environment: Environment of the commands.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._folder = tempfile.TemporaryDirectory()
        self._path = str(Path(self._folder.name) / "socket")
        server = [sys.executable, "-m", __name__, self._path]
        self._process = subprocess.Popen(
            server, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(
        self, module: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a module as `python -m` does, and return what it has said and its status."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout)
            client.connect(self._path)
            words = json.dumps([module, list(arguments), str(cwd), dict(environment)]).encode()
            descriptors = array.array("i", [out.fileno(), err.fileno()])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            client.sendmsg([len(words).to_bytes(_LENGTH_BYTES)], rights)
            client.sendall(words)
            pid = int.from_bytes(_receive(client, _LENGTH_BYTES))
            try:
                status = os.waitstatus_to_exitcode(int.from_bytes(_receive(client, _LENGTH_BYTES)))
            except TimeoutError:
                os.kill(pid, 9)
                raise subprocess.TimeoutExpired([module, *arguments], timeout) from None
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess([module, *arguments], status, *said)


@functools.cache
def _warm_start(environment: frozenset[tuple[str, str]]) -> WarmStart:
    return WarmStart(dict(environment))


def run_module(
    module: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a module as `python -m` does in a given folder, and return what it has said and its status."""
    lasting = frozenset((name, value) for name, value in environment.items() if not name.startswith(HARMLESS))
    return _warm_start(lasting).run(module, arguments, cwd, environment, timeout)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise EOFError("the process at the other end of the socket has ended")
        received += more
    return received


def _serve(path: str) -> tuple[str, list[str]]:
    """Fork a process for each message, and return in it what it should run; end with the process that asks."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            readable, *_ = select.select([server, sys.stdin], [], [])
            if sys.stdin in readable:
                raise SystemExit
            connection, _ = server.accept()
            with connection:
                head, (rights,), *_ = connection.recvmsg(_LENGTH_BYTES, socket.CMSG_SPACE(2 * 4))
                out, err = array.array("i", rights[2])
                words = _receive(connection, int.from_bytes(head))
                pid = os.fork()
                if not pid:
                    module, arguments, cwd, environment = json.loads(words)
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                    os.dup2(out, 1)
                    os.dup2(err, 2)
                    os.chdir(cwd)
                    os.environ.clear()
                    os.environ.update(environment)
                    return module, arguments
                os.close(out)
                os.close(err)
                connection.sendall(pid.to_bytes(_LENGTH_BYTES))
                connection.sendall(os.waitpid(pid, 0)[1].to_bytes(_LENGTH_BYTES))


if __name__ == "__main__":
    import lightning  # noqa: F401
    import webdataset  # noqa: F401

    asked, sys.argv[1:] = _serve(sys.argv[1])
    sys.path[0] = os.getcwd()
    runpy.run_module(asked, run_name="__main__", alter_sys=True)
