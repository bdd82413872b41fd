"""A hub on the loopback: what the hub's client asks for when it fetches a model, and the faults it may meet there."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

LARGE = (".safetensors", ".bin")


@dataclass(frozen=True)
class Seen:
    """A request as it came in; `side` is "hub" or "store"."""

    side: str
    method: str
    path: str
    token: str | None


@dataclass
class Faults:
    """What goes wrong: all is well at first."""

    gated: bool = False
    status: int = 0  # of every answer to a question for the listing
    file_status: int = 0  # of every answer to a question for a file
    cut: str = ""  # the file whose bytes never come whole
    ranges: bool = True
    stall: str = ""  # "listing", "head", or the name of the file whose bytes never come
    lies: Mapping[str, bytes] = field(default_factory=dict)  # bytes sent in place of the listed ones
    page: int = 1000
    retry_after: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, as those of a slow or cut answer do, is none of our faults."""


class Hub:
    """Serves revisions of repositories; large files come from a second address, as from a store of large files."""

    def __init__(self, repositories: Mapping[str, Mapping[str, Mapping[str, bytes]]]) -> None:
        self.repositories = repositories
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.released = threading.Event()
        self._servers = [self._server("hub"), self._server("store")]
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in self._servers]

    def _server(self, side: str) -> ThreadingHTTPServer:
        return _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self, "side": side}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def store(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def __enter__(self) -> Hub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes both addresses; nobody answers there from now on."""
        self.released.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.is_alive():
                server.shutdown()
                thread.join()
            server.server_close()


def oid(name: str, data: bytes) -> str:
    """SHA-256 of a large file, the git object's name of a small one."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    side: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        self.hub.seen.append(Seen(self.side, self.command, self.path, self.headers.get("Authorization")))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.side == "store":
            repository, revision, name = "/".join(parts[:2]), parts[2], parts[3]
            self._bytes(name, self.hub.repositories[repository][revision][name])
        elif parts[0] == "api":
            self._listing("/".join(parts[2:4]), parts[5], "/".join(parts[6:]))
        else:
            parts = parts[1:] if parts[0] == "datasets" else parts
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refused(self, repository: str, revision: str) -> bool:
        if repository not in self.hub.repositories:
            self._answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision not in self.hub.repositories[repository]:
            self._answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            return False
        return True

    def _listing(self, repository: str, revision: str, folder: str) -> None:
        faults = self.hub.faults
        if faults.stall == "listing":
            self.hub.released.wait(60)
        if faults.status:
            self._answer(faults.status, {"Retry-After": faults.retry_after} if faults.retry_after else {})
            return
        if self._refused(repository, revision):
            return
        entries: list[dict[str, Any]] = [{"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0}]
        for name, data in self.hub.repositories[repository][revision].items():
            if name.rpartition("/")[0] != folder:
                continue
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": oid(name, data)}
            if name.endswith(LARGE):
                entry["lfs"] = {"oid": entry["oid"], "size": len(data), "pointerSize": 134}
                entry["oid"] = "1" * 40
            entries.append(entry)
        start = int(self.path.partition("cursor=")[2] or 0)
        body = json.dumps(entries[start : start + faults.page]).encode()
        headers = {"Content-Type": "application/json"}
        if start + faults.page < len(entries):
            here = f"{self.hub.endpoint}{self.path.partition('?')[0]}"
            headers["Link"] = f'<{here}?cursor={start + faults.page}>; rel="next"'
        self._answer(200, headers, body)

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        faults = self.hub.faults
        if faults.stall == "head" and self.command == "HEAD":
            self.hub.released.wait(60)
        if self._refused(repository, revision):
            return
        if faults.gated:
            self._answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            return
        if faults.file_status:
            self._answer(faults.file_status, {"Retry-After": faults.retry_after} if faults.retry_after else {})
            return
        data = self.hub.repositories[repository][revision][name]
        headers = {"X-Repo-Commit": revision, "ETag": f'"{oid(name, data)}"'}
        if name.endswith(LARGE):
            size = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{oid(name, data)}"'}
            self._answer(302, {**headers, **size, "Location": f"{self.hub.store}/{repository}/{revision}/{name}"})
        else:
            self._bytes(name, data, headers)

    def _bytes(self, name: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        faults = self.hub.faults
        data = faults.lies.get(name, data)
        if self.command == "GET" and faults.stall == name:
            self.hub.released.wait(60)
        start, asked = 0, self.headers.get("Range", "")
        if faults.ranges and asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for header, value in {**(headers or {}), "Content-Length": str(len(data) - start)}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(data) // 2 if name == faults.cut else len(data)
        self.wfile.write(data[start:end])
        if end < len(data):
            self.wfile.flush()
            time.sleep(0.05)
            self.close_connection = True
