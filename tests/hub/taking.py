"""A hub on the loopback that takes folders: what its client sends to make a repository and to commit files to it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "x" * 30
COMMIT = "c0ffee" * 6 + "c0ff"


class TakingHub:
    """Repositories by name, each with what it holds and who sees it; `status` is answered to commits if it is set."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.large: tuple[str, ...] = ()  # endings of files that go to the store
        self.status = 0
        self.seen: list[tuple[str, str, str | None]] = []  # method, path, token
        self.stored: dict[str, bytes] = {}
        self.endpoint = ""

    @contextmanager
    def listening(self) -> Iterator[TakingHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: TakingHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._route(b"")

    def do_POST(self) -> None:
        self._route(self._body())

    def do_PUT(self) -> None:
        body = self._body()
        self._note()
        self.hub.stored[self.path.rpartition("/")[2]] = body
        self._answer(200, {})

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _note(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.seen.append((self.command, path, self.headers.get("Authorization")))

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, body: bytes) -> None:
        self._note()
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[:1] == ["api"] and parts[-2:] == ["preupload", "main"]:
            self._ask(json.loads(body))
        elif parts[:1] == ["api"] and parts[-2:] == ["commit", "main"]:
            self._commit("/".join(parts[2:4]), body)
        elif parts[-2:] == ["objects", "batch"]:
            self._batch(json.loads(body))
        elif parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            self._answer(200, {"id": name, "modelId": name, "private": self.hub.private[name], "sha": COMMIT})
        else:
            self._answer(200, {"errors": [], "warnings": []})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization', 'me')}/{asked['name']}"
        if name.startswith("others/"):
            self._answer(403, {"error": f"You don't have the rights to create a model under that name, {TOKEN}"})
        elif name in self.hub.private:
            self._answer(409, {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{name}"})
        else:
            self.hub.private[name] = asked.get("private", False) or asked.get("visibility") == "private"
            self._answer(200, {"url": f"{self.hub.endpoint}/{name}", "name": name})

    def _ask(self, asked: dict[str, Any]) -> None:
        modes = {True: "lfs", False: "regular"}
        files = [{"path": file["path"], "shouldIgnore": False, "oid": None} for file in asked["files"]]
        self._answer(200, {"files": [{**file, "uploadMode": modes[self._is_large(file["path"])]} for file in files]})

    def _is_large(self, name: str) -> bool:
        return name.endswith(self.hub.large) if self.hub.large else False

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.hub.endpoint}/store/{item['oid']}"}}}
            for item in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        if self.hub.status:
            self._answer(self.hub.status, {"error": f"not now, {TOKEN}"})
            return
        held = self.hub.files.setdefault(name, {})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                held[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                data = self.hub.stored[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                held[value["path"]] = data
        self._answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.endpoint}/{name}/commit/x"})
