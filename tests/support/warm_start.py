"""Commands that start within a second: a process that has imported what is slow forks one for each of them.

The imports of a command take 8 s; the suite starts hundreds of them. A fork has its own arguments, environment, folder
and streams, and imports the packages of the checkout itself. Variables that libraries read while they are imported come
too late for a fork, so a command whose environment differs in anything but HARMLESS starts as a process of its own.

A command that was forked here takes this file for its Python, so the modules that it starts are forks too: ranks of
torchrun and of Lightning, points of a sweep. For each of them this file asks for a fork, hands signals on to it, and
ends as it ends. What else Python is asked for starts as ever.
"""

import array
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OF_COMMANDS = (
    "BERT_LIGHTNING_",
    "COLUMNS",
    "DATATROVE_",
    "HOME",
    "PL_",
    "PYTEST_",
    "RAYON_",
    "TMPDIR",
    "WANDB_",
    "XDG_",
)
OF_RANKS = ("GROUP_", "LOCAL_", "MASTER_", "NODE_RANK", "RANK", "ROLE_", "TORCHELASTIC_", "TORCH_NCCL_", "WORLD_SIZE")
HARMLESS = (*OF_COMMANDS, *OF_RANKS, "PYTHON_EXEC")
"""Beginnings of the names of variables that commands and ranks read when they need them, after their imports."""
_LENGTH_BYTES = 8


class Command(NamedTuple):
    """What a fork becomes.

    Attributes:
        module: Name of the module that it runs.
        arguments: Arguments of the module.
        cwd: Folder in which it begins.
        environment: All of its environment variables.
        is_buffered: Whether what it says may wait in a buffer; `python -u` does not let it.
    """

    module: str
    arguments: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    is_buffered: bool = True


class Fork:
    """A command that runs in a fork; it is killed if this object is closed before its end.

    Args:
        path: Socket of the process that forks.
        command: What the fork becomes.
        streams: Descriptors of its standard output and of its standard error.
    """

    def __init__(self, path: str, command: Command, streams: Sequence[int]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        words = json.dumps(command).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        self._socket.sendmsg([len(words).to_bytes(_LENGTH_BYTES)], rights)
        self._socket.sendall(words)
        self.pid = int.from_bytes(_receive(self._socket, _LENGTH_BYTES))

    def __enter__(self) -> "Fork":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the command if it runs."""
        self._socket.close()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative for a signal; raise `TimeoutError` after that many seconds."""
        self._socket.settimeout(timeout)
        return os.waitstatus_to_exitcode(int.from_bytes(_receive(self._socket, _LENGTH_BYTES)))


class WarmStart:
    """The process that forks.

    Args:
        environment: Environment of the commands.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._path = str(folder / "socket")
        (folder / "environment.json").write_text(json.dumps(dict(environment)))
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" "{folder}" "$@"\n')
        python.chmod(0o755)
        self._forked = {"PYTHON_EXEC": str(python)}
        server = [sys.executable, "-m", __name__, self._path]
        self._process = subprocess.Popen(
            server, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(
        self, module: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a module as `python -m` does, and return what it has said and its status."""
        command = Command(module, arguments, str(cwd), {**environment, **self._forked})
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with Fork(self._path, command, (out.fileno(), err.fileno())) as fork:
                try:
                    status = fork.wait(timeout)
                except TimeoutError:
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
    return _warm_start(frozenset(_lasting(environment).items())).run(module, arguments, cwd, environment, timeout)


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(HARMLESS)}


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise EOFError("the process at the other end of the socket has ended")
        received += more
    return received


def _serve(path: str) -> Command:
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
                streams = array.array("i", rights[2])
                words = _receive(connection, int.from_bytes(head))
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that keep commands
                if not os.fork():
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    command = Command(*json.loads(words))
                    pid = os.fork()
                    if not pid:
                        _become(command, streams)
                        return command
                    _keep(pid, connection)
                for stream in streams:
                    os.close(stream)


def _become(command: Command, streams: Sequence[int]) -> None:
    """Take over the folder, the environment and the streams of a command."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    if not command.is_buffered:
        for text in (sys.stdout, sys.stderr):
            text.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.chdir(command.cwd)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.executable = command.environment["PYTHON_EXEC"]


def _keep(pid: int, connection: socket.socket) -> None:
    """Tell the number of a command, then its status at its end; kill it if nobody listens any more."""
    connection.sendall(pid.to_bytes(_LENGTH_BYTES))
    ended, status = 0, 0
    while not ended:
        if select.select([connection], [], [], 0.01)[0]:
            os.kill(pid, signal.SIGKILL)
            os._exit(1)
        ended, status = os.waitpid(pid, os.WNOHANG)
    connection.sendall(status.to_bytes(_LENGTH_BYTES))
    os._exit(0)


def _as_python(folder: str, words: Sequence[str]) -> None:
    """Do what `python word ...` does: a module in a fork, whatever else in a process of its own."""
    options = list(words[: words.index("-m")]) if "-m" in words else []
    lasting = json.loads(Path(folder, "environment.json").read_text())
    if options not in ([], ["-u"]) or words[len(options)] != "-m" or _lasting(os.environ) != lasting:
        os.execv(sys.executable, [sys.executable, *words])
    _, module, *arguments = words[len(options) :]
    command = Command(module, arguments, os.getcwd(), dict(os.environ), is_buffered=not options)
    with Fork(f"{folder}/socket", command, (1, 2)) as fork:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: os.kill(fork.pid, received))
        status = fork.wait()
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    if sys.argv[2:]:
        _as_python(sys.argv[1], sys.argv[2:])
    import lightning  # noqa: F401
    import webdataset  # noqa: F401

    asked = _serve(sys.argv[1])
    sys.argv[1:] = asked.arguments
    sys.path[0] = os.getcwd()
    runpy.run_module(asked.module, run_name="__main__", alter_sys=True)
