"""An https server on loopback with files, ranges and redirects, which misbehaves as it is told."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from urllib.parse import urlsplit


class Trouble(StrEnum):
    """What happens to one answer."""

    CUT = "the connection ends half-way"
    NO_RANGE = "a range is not known"
    NO_LENGTH = "the length is not told"
    HUGE = "a length of a petabyte"
    DRIP = "a byte at a time"


@dataclass
class Asked:
    """One request; header names in lower case."""

    path: str
    headers: dict[str, str]


@dataclass
class Site:
    """What a server has: `files` by path, `redirects` by path, `statuses` by path.

    `judge` decides on each request for a file; `asked` are all that came; `sent_bytes` of files.
    """

    url: str = ""
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    certificate: Path = Path()
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """More headers of an answer, by path."""
    judge: Callable[[Asked], Trouble | int | None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, urlsplit(self.path).path
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        site.asked.append(asked)
        if path in site.redirects:
            self._end(302, {"Location": site.redirects[path], "Content-Length": "0"})
        elif path in site.statuses or path not in site.files:
            more = site.headers.get(path, {})
            self._end(site.statuses.get(path, 404), {"Content-Length": "0", **more})
        else:
            trouble = site.judge(asked)
            if isinstance(trouble, int):
                self._end(trouble, {"Content-Length": "0"})
            else:
                self._file(site.files[path], asked, trouble)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, body: bytes, asked: Asked, trouble: Trouble | None) -> None:
        etag = f'"{sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        headers |= self.site.headers.get(urlsplit(self.path).path, {})
        status, start = 200, 0
        wanted = asked.headers.get("range")
        if wanted and asked.headers.get("if-range") == etag and trouble is not Trouble.NO_RANGE:
            status, start = 206, int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        headers["Content-Length"] = str(10**15 if trouble is Trouble.HUGE else len(rest))
        if trouble is Trouble.NO_LENGTH:
            del headers["Content-Length"]
        self._end(status, headers)
        if self.command == "HEAD":
            return
        if trouble is Trouble.CUT:
            rest = rest[: max(1, len(rest) // 2)]
        step = 1 if trouble is Trouble.DRIP else len(rest)
        for offset in range(0, len(rest), step):
            self.wfile.write(rest[offset : offset + step])
            self.site.sent_bytes += step
            if trouble is Trouble.DRIP:
                sleep(0.05)
        self.close_connection = trouble is not None

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or does not trust the certificate, is part of the tests."""


@contextmanager
def website(certificate: tuple[Path, Path]) -> Iterator[Site]:
    """A running server with nothing on it."""
    site = Site(tls=ssl.create_default_context(cafile=certificate[0]), certificate=certificate[0])
    handler = type("Handler", (_Handler,), {"site": site})
    server = _Server(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    site.url = f"https://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
