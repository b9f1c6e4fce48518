"""What a pod answers while it works: /progress (JSON), /healthz, /metrics (Prometheus).

No bodies read, short timeouts: the server must never be what a pod spends
its time or memory on.
"""

import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from llmcloud.api.contract import Progress

REQUEST_TIMEOUT_SECONDS: Final = 2


class Report:
    """The pod's live progress and the server that shows it; port 0 takes a free one.

    `publish` is safe in any thread.
    """

    def __init__(self, progress: Progress, port: int) -> None:
        self._progress = progress
        self._server = ThreadingHTTPServer(("", port), partial(_Handler, lambda: self._progress))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="report", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def progress(self) -> Progress:
        return self._progress

    def publish(self, progress: Progress) -> None:
        """Replace the whole progress."""
        self._progress = progress

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics_text(progress: Progress) -> str:
    """Prometheus text: every number of the progress as a gauge `llmcloud_progress_NAME`."""
    numbers = progress.model_dump(
        exclude={"phase", "checkpoint", "spent", "note"}, exclude_none=True
    )
    if progress.spent is not None:
        numbers |= progress.spent.model_dump()
    lines = []
    for name, value in numbers.items():
        lines += [f"# TYPE llmcloud_progress_{name} gauge", f"llmcloud_progress_{name} {value}"]
    return "\n".join(lines) + "\n"


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS

    def __init__(self, tell: Callable[[], Progress], *connection: Any) -> None:
        self._tell = tell
        super().__init__(*connection)

    def do_GET(self) -> None:
        match self.path:
            case "/progress":
                body = self._tell().model_dump_json(by_alias=True, exclude_none=True)
                self._answer(HTTPStatus.OK, "application/json", body)
            case "/metrics":
                self._answer(HTTPStatus.OK, "text/plain; version=0.0.4", metrics_text(self._tell()))
            case "/healthz":
                self._answer(HTTPStatus.OK, "text/plain", "ok\n")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "not found\n")

    def _answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes are not worth a line of log."""
