"""An HTTP server that tells of a pod: GET only, no bodies read, short timeouts.

It must never be what a pod spends its time or memory on.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

REQUEST_TIMEOUT_SECONDS: Final = 2
SHUTDOWN_POLL_SECONDS: Final = 0.05
TEXT: Final = "text/plain"
JSON: Final = "application/json"
PROMETHEUS: Final = "text/plain; version=0.0.4"


class Answer(NamedTuple):
    """What a path answers: 200 if all is `good`, else 503."""

    text: str
    content_type: str = PROMETHEUS
    good: bool = True


Answers = Mapping[str, Callable[[], Answer]]
"""By path; called in the threads of the server."""


def tell(answers: Answers, port: int) -> ThreadingHTTPServer:
    """Answer in threads until the server is shut down; port 0 takes a free one."""
    server = ThreadingHTTPServer(("", port), partial(_Handler, answers))
    serve = partial(server.serve_forever, SHUTDOWN_POLL_SECONDS)
    threading.Thread(target=serve, name="report", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS

    def __init__(self, answers: Answers, *connection: Any) -> None:
        self._answers = answers
        super().__init__(*connection)

    def do_GET(self) -> None:
        answer = self._answers.get(self.path)
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, TEXT, "not found\n")
            return
        text, content_type, good = answer()
        self._send(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, content_type, text)

    def _send(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes are not worth a line of log."""
