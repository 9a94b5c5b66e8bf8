"""A hub on loopback: repositories of files, and what goes wrong between it and a cluster."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[\w.-]+(?:/[\w.-]+)??)"
    r"(?:/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(?P<under>/.*)?)?"
)
_FILE = re.compile(
    r"/(?P<kind>datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)


@dataclass
class Repository:
    """Files of one commit."""

    files: dict[str, bytes]
    status: int | None = None
    """What every request is answered with instead."""
    code: str = ""
    """The hub's own word for it, such as GatedRepo."""

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files)).encode(), usedforsecurity=False).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        oid = hashlib.sha1(
            f"blob {len(content)}\0".encode() + content, usedforsecurity=False
        ).hexdigest()
        if not path.endswith((".safetensors", ".parquet", ".so")):
            return {"size": len(content), "oid": oid, "blobId": oid}
        digest = hashlib.sha256(content).hexdigest()
        large = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 130}
        return {"size": len(content), "oid": oid, "blobId": oid, "lfs": large}


@dataclass
class Hub:
    """Its repositories, by `models/owner/name` or `datasets/owner/name`."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    """Path to how often its connection breaks off half way."""
    too_often: int = 0
    """Requests that are answered with 429."""
    changed: dict[str, bytes] = field(default_factory=dict)
    """Path to what is sent in its place, of the same size."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes sent of each path."""
    requests: int = 0
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._posted = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.hub.requests += 1
        if self.hub.too_often:
            self.hub.too_often -= 1
            self._send(429, b"slow down", {"Retry-After": "0"})
            return
        path = unquote(urlsplit(self.path).path)
        match = _API.fullmatch(path) or _FILE.fullmatch(path)
        kind = match["kind"] if match else None
        folder = "models" if kind is None else kind.rstrip("/")
        repository = self.hub.repositories.get(f"{folder}/{match['name']}") if match else None
        if match is None or repository is None:
            headers = {"X-Error-Code": "RepoNotFound"} if match else {}
            self._send(404, b"{}" if body else b"", headers)
        elif repository.status is not None:
            self._send(repository.status, b"", {"X-Error-Code": repository.code})
        elif match["revision"] not in (None, "main", repository.commit):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif match.re is _API:
            self._describe(repository, match)
        else:
            self._file(repository, match["path"], body)

    def _describe(self, repository: Repository, match: re.Match[str]) -> None:
        listed: list[dict[str, Any]] = [
            {"type": "file", "path": path, "rfilename": path, **repository.described(path)}
            for path in sorted(repository.files)
        ]
        directories: list[dict[str, Any]] = [
            {"type": "directory", "path": each, "oid": "0" * 40} for each in _folders(repository)
        ]
        answer: object = listed
        if match["what"] in (None, "revision"):
            answer = {"id": match["name"], "sha": repository.commit, "siblings": listed}
        elif match["what"] == "paths-info":
            requested = json.loads(self._posted)["paths"]
            answer = [each for each in (*listed, *directories) if each["path"] in requested]
        elif match["what"] == "tree":
            under = (match["under"] or "").strip("/")
            query = parse_qs(urlsplit(self.path).query)
            deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            answer = [
                each
                for each in (*listed, *directories)
                if _is_under(str(each["path"]), under, deep=deep)
            ]
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Repository, path: str, body: bool) -> None:
        if path not in repository.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        found = repository.described(path)
        large = found.get("lfs")
        etag = large["sha256"] if isinstance(large, dict) else found["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit}
        content = self.hub.changed.get(path, repository.files[path])
        start = int(re.sub(r"\D", "", self.headers.get("Range", "")) or 0)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, content[start:], headers, body=body, path=path)

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str],
        body: bool = True,
        path: str = "",
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body or self.command == "HEAD":
            return
        if self.hub.cut.get(path, 0) > 0:
            self.hub.cut[path] -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        self.hub.sent[path] += len(content)
        self.wfile.write(content)


def _folders(repository: Repository) -> list[str]:
    parts = (path.split("/") for path in repository.files)
    return sorted({"/".join(each[:n]) for each in parts for n in range(1, len(each))})


def _is_under(path: str, folder: str, *, deep: bool) -> bool:
    if folder and not path.startswith(f"{folder}/"):
        return False
    return deep or "/" not in path.removeprefix(f"{folder}/" if folder else "")


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on loopback; its address is in `url`."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
