"""A stand-in for the server of W&B on loopback: it takes runs, their rows and saved views, and remembers them."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "somebody"
HISTORY = "wandb-history.jsonl"
SUMMARY = "wandb-summary.json"


@dataclass
class StoredRun:
    """A run as the server has it.

    Attributes:
        config: The settings.
        history: The rows, as lines of JSON; a line is written at an offset, over what was there.
        summary: The last values.
        values: Group, job type, tags and the other values of the last upsert.
    """

    config: str = "{}"
    history: list[str] = field(default_factory=list)
    summary: str = "{}"
    values: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return [json.loads(line) for line in self.history]


@dataclass
class StoredArtifact:
    """A version of an artifact.

    Attributes:
        values: Its type, collection, metadata and aliases, as they were sent.
        is_committed: Whether the client has said that all files are there.
    """

    values: dict[str, Any]
    is_committed: bool = False


class WandbServer(ThreadingHTTPServer):
    """The server; `runs` and `views` are what it has, by name, `asked` the names of the operations so far.

    `artifacts` and `uploads` are what it has of artifacts and of files, by their ids and the paths of their addresses.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, StoredRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.alerts: list[dict[str, Any]] = []
        self.artifacts: dict[str, StoredArtifact] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a GraphQL operation; what is not known has none."""
        self.asked.append(operation)
        known = {
            "UpsertBucket": self._upsert_run,
            "RunResumeStatus": self._resume_status,
            "UpsertView2": self._upsert_view,
            "View": self._find_view,
            "CreateRunFiles": self._create_files,
            "ArtifactType": self._artifact_type,
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
            "NotifyScriptableRunAlert": self._alert,
        }
        if operation in known:
            return known[operation](variables)
        viewer = {"id": "1", "username": ENTITY, "entity": ENTITY, "flags": "{}", "admin": False}
        viewer |= {"teams": {"edges": []}, "apiKeys": {"edges": []}, "email": "", "name": ENTITY}
        return {"viewer": viewer, "serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None}}

    def _upsert_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun())
        run.config = variables.get("config") or run.config
        run.values |= {key: value for key, value in variables.items() if value is not None}
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
        bucket = {"id": name, "name": name, "displayName": name, "project": project, "historyLineCount": 0}
        bucket |= {"sweepName": None, "description": None, "config": run.config}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
        if name not in self.runs:
            return {"model": {"id": "p", "name": variables["project"], "entity": project["entity"], "bucket": None}}
        run = self.runs[name]
        started = json.dumps({"t": 1})
        bucket = {"id": name, "name": name, "summaryMetrics": run.summary, "displayName": name, "logLineCount": 0}
        bucket |= {
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.history[-1:]),
        }
        bucket |= {"eventsLineCount": 0, "eventsTail": "[]", "config": run.config, "tags": [], "wandbConfig": started}
        return {"model": {"id": "p", "name": variables["project"], "entity": project["entity"], "bucket": bucket}}

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = variables["name"] not in self.views
        self.views[variables["name"]] = variables
        return {"upsertView": {"view": {"id": variables["name"], "name": variables["name"]}, "inserted": inserted}}

    def _find_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        found = [self.views[name] for name in self.views if name == variables["viewName"]]
        nodes = [{"id": view["name"], "displayName": view["displayName"], "spec": view["spec"]} for view in found]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    def _create_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.address}/upload"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables.get("run"), "uploadHeaders": [], "files": files}}

    def _artifact_type(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the type of a collection, which has one as soon as it has a version."""
        known = [each.values for each in self.artifacts.values()]
        types = [each["artifactTypeName"] for each in known if each["artifactCollectionName"] == variables["name"]]
        return {"project": {"artifact": {"artifactType": {"name": types[0]}} if types else None}}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Take a version of an artifact, whose files are still to be sent."""
        identifier = f"artifact-{len(self.artifacts)}"
        self.artifacts[identifier] = StoredArtifact(variables["input"])
        artifact = {"id": identifier, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _create_manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        path = f"{variables['artifactID']}/manifest"
        file = {"id": path, "uploadUrl": f"{self.address}/upload/{path}", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": path, "file": file}}}

    def _create_artifact_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for file in variables["input"]["artifactFiles"]:
            identifier, name = file["artifactID"], file["name"]
            node = {"storagePath": f"store/{name}", "uploadUrl": f"{self.address}/upload/{identifier}/{name}"}
            node |= {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": identifier}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[variables["artifactID"]]
        artifact.is_committed = True
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": artifact.values["digest"]}}}

    def _alert(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.alerts.append(variables)
        return {"notifyScriptableRunAlert": {"success": True}}

    def take(self, name: str, files: dict[str, Any]) -> None:
        """Take what a run sends of its files."""
        run = self.runs[name]
        if history := files.get(HISTORY):
            offset, lines = history["offset"], history["content"]
            run.history[offset : offset + len(lines)] = lines
        if summary := files.get(SUMMARY):
            run.summary = summary["content"][-1]


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        stream = re.search(r"/files/[^/]+/[^/]+/([^/]+)/file_stream$", self.path)
        if stream:
            self.server.take(stream[1], json.loads(body).get("files") or {})
            self._send({"exitcode": None, "limits": {}})
        elif not self.path.endswith("/graphql"):
            self._send({})
        else:
            request = json.loads(body)
            found = re.search(r"(?:query|mutation) (\w+)", request.get("query", ""))
            name = request.get("operationName") or (found[1] if found else "")
            self._send({"data": self.server.answer(name, request.get("variables") or {})})

    def do_PUT(self) -> None:
        self.server.uploads[self.path.removeprefix("/upload/")] = self._body()
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    do_HEAD = do_GET

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Run the server."""
    with WandbServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
