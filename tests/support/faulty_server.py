"""A web server on loopback over a folder, which fails as it is told to."""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class FaultyServer(ThreadingHTTPServer):
    """`faults[name]` is what happens to the next requests for a file, one each; after them it is sent whole.

    Faults: a status as a number; "drop" closes the connection in the middle, "reset" resets it there; "truncate" sends
    half as if it were all; "wrong" changes the first byte, "text" every e; "longer" adds bytes; "stall" stops sending
    in the middle; "slow" sends a little at a time; "no range" sends all whatever was asked for; "other range" sends a
    later part; "endless" sends without end; "gzip" says that what comes is compressed.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: dict[str, list[str | int]] = {}
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


@contextmanager
def serve(folder: Path) -> Iterator[FaultyServer]:
    server = FaultyServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else ""
        if isinstance(fault, int) or not (self.server.folder / name).is_file():
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        content = (self.server.folder / name).read_bytes()
        content = {
            "truncate": content[: len(content) // 2],
            "wrong": bytes([content[0] ^ 1]) + content[1:],
            "text": content.replace(b"e", b"f"),
            "longer": content + b"more",
        }.get(fault, content)
        begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fault != "no range" else 0
        if begin and begin >= len(content):
            self.send_error(416)
            return
        begin += 100 if fault == "other range" else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if fault == "gzip":
            self.send_header("Content-Encoding", "gzip")
        if fault != "endless":
            self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self._send(content[begin:], fault)

    def _send(self, body: bytes, fault: str) -> None:
        half = len(body) // 2
        if fault == "slow":
            step = len(body) // 20
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(0.05)
        elif fault == "endless":
            while True:  # until the client hangs up
                self.wfile.write(bytes(1 << 16))
        elif fault in ("drop", "reset", "stall"):
            self.wfile.write(body[:half])
            self.wfile.flush()
            time.sleep(0.1 if fault == "reset" else 0)
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif fault == "stall":
                time.sleep(2)
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
