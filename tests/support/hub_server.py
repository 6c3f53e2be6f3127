"""
A small Hugging Face Hub on 127.0.0.1: what `huggingface_hub` asks of it to create, fill and read a repository of a
model or, under "datasets/user/name", of data.

Failures are put into `Hub.failures` by the name of the endpoint, and last until they are taken out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_token_of_the_tests"
LARGE = (".safetensors", ".zip", ".mp4", ".npz")


@dataclass
class Repository:
    """Every commit has all files."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """:return: commit and contents, None for an unknown revision"""
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """What the server knows."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, Any] = field(default_factory=dict)
    """
    create, preupload, batch, put, commit, info: a status; truncate: name of a file that is cut off; sizes: untrue ones
    """
    moves: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    """commits that are added to a repository once the file of this name, or "info", was asked for"""
    failures_then: dict[str, Any] = field(default_factory=dict)
    """that begin with the first of these commits"""
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def running() -> Iterator[Hub]:
    """:return: a hub that answers until the block ends"""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """:return: a hub that huggingface_hub in this process talks to as the tests need, without a token of the user's"""
    # The variable HF_HUB_DISABLE_XET is read when huggingface_hub is imported, which another test may have done.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running() as hub:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    # ------------------------------------------------------------------ requests

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._path()
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif not self._may_write():
            self._error(401, "Unauthorized", "Invalid username or password.")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/preupload/" in path:
            self._preupload(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/commit/" in path:
            self._commit(path, body)
        else:
            self._error(404, None, f"no endpoint {path}")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._fails("put"):
            return
        oid = self._path().rsplit("/", 1)[1]
        if hashlib.sha256(body).hexdigest() != oid:
            self._error(400, None, "sha256 differs")
            return
        self.hub.objects[oid] = body
        self._send(200, b"")

    def do_GET(self) -> None:
        path = self._path()
        if path.startswith(("/api/models/", "/api/datasets/")):
            self._info(path)
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self._error(404, None, f"no endpoint {path}")

    do_HEAD = do_GET

    # ------------------------------------------------------------------ endpoints

    def _create(self, data: dict[str, Any]) -> None:
        if self._fails("create"):
            return
        kind = "datasets/" if data.get("type") == "dataset" else ""
        repo_id = f"{kind}{data.get('organization') or 'me'}/{data['name']}"
        if repo_id in self.hub.repositories:
            url = f"{self.hub.endpoint}/{repo_id}"
            self._json({"error": "You already created this model repo", "url": url}, status=409)
            return
        self.hub.repositories[repo_id] = Repository(private=data.get("visibility") == "private")
        self._json({"url": f"{self.hub.endpoint}/{repo_id}", "id": repo_id, "name": repo_id})

    def _preupload(self, data: dict[str, Any]) -> None:
        if self._fails("preupload"):
            return
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": x["path"], "uploadMode": modes[x["path"].endswith(LARGE)], "shouldIgnore": False}
            for x in data["files"]
        ]
        self._json({"files": files})

    def _batch(self, data: dict[str, Any]) -> None:
        if self._fails("batch"):
            return
        objects = [
            {**x, "authenticated": True}
            if x["oid"] in self.hub.objects
            else {**x, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{x['oid']}"}}}
            for x in data["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, path: str, body: bytes) -> None:
        if self._fails("commit"):
            return
        repo_id = _repo_id_of(path.split("/commit/")[0])
        repository = self.hub.repositories.get(repo_id)
        if repository is None:
            self._error(404, "RepoNotFound", "Repository not found")
            return
        files = dict(repository.commits[-1][1])
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = hashlib.sha1(body + repository.commits[-1][0].encode()).hexdigest()
        repository.commits.append((sha, files))
        url = f"{self.hub.endpoint}/{repo_id}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _info(self, path: str) -> None:
        if self._fails("info"):
            return
        repo_id, _, revision = _repo_id_of(path).partition("/revision/")
        found = self._find(repo_id, revision or "main")
        if found is not None:
            sha, files = found
            sizes = self.hub.failures.get("sizes", {})
            siblings = [{"rfilename": name, "size": sizes.get(name, len(x))} for name, x in files.items()]
            self._json(
                {"id": repo_id, "modelId": repo_id, "sha": sha, "siblings": siblings, "private": False, "tags": []}
            )
            self._move(repo_id, "info")

    def _resolve(self, path: str) -> None:
        repo_id, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        found = self._find(repo_id, revision)
        if found is None:
            return
        sha, files = found
        if name not in files:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": sha})
            return
        content = files[name]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if self.command == "GET" and self.hub.failures.get("truncate") == name:
            self._send(200, content[: len(content) // 2], headers, length=len(content))
            self.close_connection = True
            return
        self._send(200, content, headers)
        if self.command == "GET":
            self._move(repo_id, name)

    # ------------------------------------------------------------------ answers

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _find(self, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and not self._may_write()):
            self._error(404 if self._may_write() else 401, "RepoNotFound", "Repository not found")
            return None
        found = repository.files(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def _move(self, repo_id: str, name: str) -> None:
        """Somebody pushes in the middle of a download."""
        if name in self.hub.moves:
            self.hub.repositories[repo_id].commits.append(self.hub.moves.pop(name))
            self.hub.failures |= self.hub.failures_then

    def _may_write(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _fails(self, endpoint: str) -> bool:
        status = self.hub.failures.get(endpoint)
        if status is not None:
            self._error(status, None, f"{endpoint} failed")
        return status is not None

    def _json(self, data: Any, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        named = {} if code is None else {"X-Error-Code": code}
        self._send(
            status, json.dumps({"error": message}).encode(), {"X-Error-Message": message, **named, **(headers or {})}
        )

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _repo_id_of(path: str) -> str:
    """:return: of a path under /api"""
    return path.removeprefix("/api/models/").removeprefix("/api/")
