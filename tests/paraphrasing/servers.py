"""A server that speaks both APIs and misbehaves on request, and real ones as processes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Asked"], "str | Misbehaviour"]


class Asked:
    """One request: how many came before, its headers, and what was asked."""

    def __init__(self, number: int, path: str, headers: dict[str, str], body: dict[str, Any]):
        self.number, self.path, self.headers, self.body = number, path, headers, body

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


class Misbehaviour:
    """What a server does in place of a reply: a status, a body, seconds of silence."""

    def __init__(self, status: int = 200, body: str = "", silence: float = 0.0):
        self.status, self.body, self.silence = status, body, silence

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:20]}"


class Server:
    """A server's address, and all that it was asked."""

    def __init__(self, endpoint: str, asked: list[Asked]) -> None:
        self.endpoint, self.asked = endpoint, asked


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    """Serve `answer` under both APIs, at an address of this machine, for as long as it is used."""
    asked: list[Asked] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Asked(len(asked), self.path, headers, body)
                asked.append(request)
            found = answer(request)
            if isinstance(found, Misbehaviour):
                time.sleep(found.silence)
                self._send(found.status, found.body)
            elif self.path.endswith("/chat/completions"):
                self._send(200, json.dumps(_completion(found)))
            else:
                self._send(200, json.dumps(_message(found)))

        def _send(self, status: int, body: str) -> None:
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("retry-after", "0.01")
                self.end_headers()
                self.wfile.write(body.encode())
            except OSError:
                pass  # whoever asked waits no longer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}/v1", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def _message(text: str) -> dict[str, Any]:
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
