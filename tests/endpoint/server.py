"""An endpoint on the loopback that answers as it is told to, faults included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in: what was asked, with which headers (names in lower case), and when."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    time: float

    @property
    def text(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Says:
    """One response. Of a `cut` body the first so many bytes come; `slow` is the time before it, in seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut: int | None = None
    slow: float = 0.0
    trickle: float = 0.0  # seconds between single bytes


def completion(text: str | None = "hate", finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A response of the chat completions API."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    found = {"object": "chat.completion", "model": "served", "system_fingerprint": "fp1", "choices": [choice]}
    return {**found, "usage": usage, **more}


def ok(text: str | None = "hate", finish: str | None = "stop", **more: Any) -> Says:
    """A good response."""
    return Says(body=json.dumps(completion(text, finish, **more)).encode())


def error(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **more: Any) -> Says:
    """An error as the API writes it."""
    body = json.dumps({"error": {"message": message, **more}}).encode()
    return Says(status, body, headers or {})


Answer = Callable[[Asked, int], Says]


class Server:
    """Serves `answer(request, how often that text was asked before)`; a context manager."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """The base URL, as a component names it."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def times(self, text: str) -> int:
        """How often a text was asked."""
        return sum(item.text == text for item in self.asked)

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.path, headers, body, time.monotonic())
                with server._lock:
                    before = server.times(asked.text)
                    server.asked.append(asked)
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                try:
                    self.say(server.answer(asked, before))
                except OSError:  # whoever asked is gone
                    self.close_connection = True
                finally:
                    with server._lock:
                        server._now -= 1

            def say(self, says: Says) -> None:
                time.sleep(says.slow)
                self.send_response(says.status)
                if says.kind:
                    self.send_header("Content-Type", says.kind)
                for name, value in says.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(says.body)))
                self.end_headers()
                if says.trickle:
                    for byte in says.body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(says.trickle)
                self.wfile.write(b"" if says.trickle else says.body[: says.cut])
                if says.cut is not None:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
