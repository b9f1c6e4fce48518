"""HTTPS to what users name: the address that is connected is the one that was judged.

A name is looked up once for each connection, and only an address that `addresses` permits is
connected, so neither a redirect nor a name that changes its mind leads into the cluster. Reading
is bounded in size and time, and goes on where it broke off.
"""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

import httpcore2
import httpx2

from llmcloud.api.contract import NetworkRules
from llmcloud.cloud.errors import (
    ConfigurationInvalid,
    CredentialsRefused,
    DiskFull,
    ObjectChanged,
    ObjectNotFound,
    SourceUnreachable,
)
from llmcloud_data.addresses import Judge, plain

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
FETCH_SECONDS: Final = 6 * 3600
"""Of one file, however often its connection breaks."""
FILE_BYTES: Final = 256 * 1024**3
ATTEMPTS: Final = 6
"""In a row that bring nothing."""
PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
REDIRECTS: Final = 5


LookUp = Callable[..., Iterable[tuple[Any, ...]]]


class CheckedNetwork(httpcore2.NetworkBackend):
    """Connects to permitted addresses alone; `trusted` are hosts with their ports that the
    installation names."""

    def __init__(
        self,
        judge: Judge,
        trusted: frozenset[tuple[str, int]],
        look_up: LookUp = socket.getaddrinfo,
    ) -> None:
        self._judge = judge
        self._trusted = trusted
        self._look_up = look_up
        self._network = httpcore2.SyncBackend()

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        """The first permitted address of `host` that answers. Raises ConfigurationInvalid."""
        try:
            found = self._look_up(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise httpcore2.ConnectError(f"no address of {host} is known") from error
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        permitted = [
            address
            for address in addresses
            if (host, port) in self._trusted or self._judge.permits(address)
        ]
        if not permitted:
            raise ConfigurationInvalid(
                f"{host} is at {', '.join(addresses)}, which sources may not reach; name a host of "
                "the internet, or have the network allowed by the chart's value "
                "egress.allowedNetworks."
            )
        return self._first(permitted, port, args, kwargs)

    def _first(
        self, addresses: list[str], port: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        for address in addresses[:-1]:
            try:
                return self._network.connect_tcp(address, port, *args, **kwargs)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._network.connect_tcp(addresses[-1], port, *args, **kwargs)


class Web:
    """A client for sources. Safe for use by several threads.

    `mirror`: URL of the installation's own mirror of the hub, the one server that may be
    anywhere and speak plain HTTP.
    """

    def __init__(
        self,
        rules: NetworkRules,
        mirror: str = "",
        tls: ssl.SSLContext | None = None,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._mirror = urlsplit(mirror)
        self._network = CheckedNetwork(Judge(rules), _place(self._mirror))
        self._tls = tls or ssl.create_default_context()
        self._client = self.build_client()

    def close(self) -> None:
        self._client.close()

    def build_client(self) -> httpx2.Client:
        """A client of the same rules."""
        transport = httpx2.HTTPTransport(verify=self._tls, trust_env=False)
        # There is no public way to give a transport its network; a test sees that it is used.
        transport._pool = httpcore2.ConnectionPool(
            ssl_context=self._tls, network_backend=self._network
        )
        return httpx2.Client(
            transport=transport,
            trust_env=False,
            follow_redirects=True,
            max_redirects=REDIRECTS,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            headers={"Accept-Encoding": "identity", "User-Agent": "llmcloud"},
            event_hooks={"request": [self._require_https]},
        )

    def size_bytes(self, url: str, headers: Mapping[str, str] = {}) -> int:
        """What the server says of the size. Raises as `fetch`."""
        for attempt in range(ATTEMPTS):
            try:
                with self._client.stream("GET", url, headers=dict(headers)) as answer:
                    if _is_whole(answer, url):
                        return _length(answer, url)
                    problem = str(answer.status_code)
            except httpx2.TransportError as error:
                problem = type(error).__name__
            except httpx2.TooManyRedirects:
                raise _redirected(url) from None
            self._pause(attempt)
        raise _unreachable(url, problem)

    def fetch(
        self,
        url: str,
        destination: Path,
        size_bytes: int,
        headers: Mapping[str, str] = {},
        seconds: float = FETCH_SECONDS,
    ) -> None:
        """Write `size_bytes` to `destination`; a broken answer is read on where it ended.

        Raises ConfigurationInvalid, CredentialsRefused, DiskFull, ObjectChanged, ObjectNotFound,
        SourceUnreachable. The bytes are not verified.
        """
        _require_room(url, destination, size_bytes)
        deadline = time.monotonic() + seconds
        failures, same = 0, ""
        with destination.open("wb") as file:
            while True:
                before = file.tell()
                try:
                    answer = self._request(url, headers, file, same)
                    same = _validator(answer)
                    problem = _append(answer, file, url, size_bytes, deadline)
                except httpx2.TransportError as error:
                    problem = type(error).__name__
                except httpx2.TooManyRedirects:
                    raise _redirected(url) from None
                if file.tell() == size_bytes:
                    return
                failures = 0 if file.tell() > before else failures + 1
                if failures == ATTEMPTS or time.monotonic() > deadline:
                    raise _unreachable(url, problem)
                self._pause(failures)

    def _request(
        self, url: str, headers: Mapping[str, str], file: BinaryIO, same: str
    ) -> httpx2.Response:
        """The rest of what is in `file`, if it is still the same; else all of it."""
        wanted = dict(headers)
        if file.tell() and same:
            wanted |= {"Range": f"bytes={file.tell()}-", "If-Range": same}
        else:
            _begin_anew(file)
        request = self._client.build_request("GET", url, headers=wanted)
        return self._client.send(request, stream=True)

    def _pause(self, failures: int) -> None:
        if failures:
            time.sleep(min(self._pause_seconds * 2**failures, LONGEST_PAUSE_SECONDS))

    def _require_https(self, request: httpx2.Request) -> None:
        url = request.url
        if url.scheme == "https" or (url.scheme, url.host, url.port) == self._mirror_place:
            return
        raise ConfigurationInvalid(
            f"{url.scheme}://{url.host} is not https; name a source that is, also where it "
            "redirects to."
        )

    @property
    def _mirror_place(self) -> tuple[str, str | None, int | None]:
        return self._mirror.scheme, self._mirror.hostname, self._mirror.port


def _place(url: SplitResult) -> frozenset[tuple[str, int]]:
    """Host and port of a URL, if it is one."""
    if not url.hostname:
        return frozenset()
    return frozenset({(url.hostname, url.port or (443 if url.scheme == "https" else 80))})


def _append(
    answer: httpx2.Response, file: BinaryIO, url: str, size_bytes: int, deadline: float
) -> str:
    """Add an answer to what is in the file; returns what there is to say if that is not all."""
    try:
        if not _is_whole(answer, url):
            if answer.status_code == 416:
                _begin_anew(file)
            return str(answer.status_code)
        if answer.status_code == 206 and not _continues(answer, file.tell(), size_bytes):
            _begin_anew(file)
            return "another range than was asked for"
        if answer.status_code == 200:
            _begin_anew(file)
            if _length(answer, url) != size_bytes:
                raise _changed(url)
        for chunk in answer.iter_raw():  # as it comes: what came before a break is kept
            file.write(chunk)
            if file.tell() > size_bytes:
                raise _changed(url)
            if time.monotonic() > deadline:
                return "more time than a file may take"
        return "an answer that ended early"
    finally:
        answer.close()


def _is_whole(answer: httpx2.Response, url: str) -> bool:
    """Whether the answer brings what was asked for; False if asking again may help."""
    status = answer.status_code
    if status in (200, 206):
        return True
    if status in (401, 403):
        raise CredentialsRefused(
            f"{plain(url)} may not be read ({status}); make it public, or correct the token."
        )
    if status in (404, 410):
        raise ObjectNotFound(f"There is nothing at {plain(url)} ({status}); correct the source.")
    if status in (408, 416, 429) or status >= 500:
        return False
    raise ConfigurationInvalid(f"{plain(url)} answers {status}; correct the source.")


def _length(answer: httpx2.Response, url: str) -> int:
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise ConfigurationInvalid(
            f"{plain(url)} does not tell its size; put the file into a store, or on a server that "
            "does."
        )
    return int(length)


def _validator(answer: httpx2.Response) -> str:
    """What tells whether a later answer is of the same bytes; empty if nothing does."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return str(answer.headers.get("Last-Modified", "")) if not etag else ""


def _continues(answer: httpx2.Response, offset: int, size_bytes: int) -> bool:
    wanted = f"bytes {offset}-{size_bytes - 1}/{size_bytes}"
    return bool(answer.headers.get("Content-Range") == wanted)


def _begin_anew(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _require_room(url: str, destination: Path, size_bytes: int) -> None:
    if size_bytes > FILE_BYTES:
        raise ConfigurationInvalid(
            f"{plain(url)} has {size_bytes} bytes, more than {FILE_BYTES}; cut it into files."
        )
    free_bytes = shutil.disk_usage(destination.parent).free
    if size_bytes > free_bytes:
        raise DiskFull(
            f"{plain(url)} has {size_bytes} bytes, and {free_bytes} are free; raise "
            "spec.resources.ephemeralStorage or spec.pod.scratch.size."
        )


def _changed(url: str) -> ObjectChanged:
    return ObjectChanged(f"{plain(url)} changed while it was read; it is read again.")


def _redirected(url: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"{plain(url)} redirects more than {REDIRECTS} times; name where it leads to."
    )


def _unreachable(url: str, problem: str) -> SourceUnreachable:
    return SourceUnreachable(
        f"{plain(url)} could not be read ({problem}); check that it answers, and that this "
        "cluster's pods may reach it."
    )
