"""One generation: a place on a replica, the request to its engine, the answer to the client.

Retries only before the first byte of an answer. Sends engines nothing of the client's headers but
the trace context: no credentials, and no X-Request-Id, which engines use to tell requests apart.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmcloud_gateway.errors import ENGINE_ERROR_BYTES, GatewayError, engine_error_body
from llmcloud_gateway.groups import Tally
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.routes import LiveRoute, Place, Replica
from llmcloud_gateway.upstream import EngineBroke, EngineConnection, EngineUnreachable
from llmcloud_gateway.usage import Usage, WithoutUsage

log = logging.getLogger(__name__)

_FORWARDED = (b"traceparent", b"tracestate")
_RELAYED = frozenset(
    (
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-type",
        b"date",
        b"retry-after",
    )
)
"""No cookies nor policies: the gateway's name is shared by all who serve behind it."""
_RELAYED_KINDS = (b"openai-", b"x-ratelimit-")
_TOLD_WITH_ERRORS = (b"retry-after", b"date", b"x-llmcloud-reason")
"""The reason is an egress pod's."""


class _Answer:
    """The engine's response on its way to the client: upstream's `Sink`."""

    __slots__ = (
        "_arrived",
        "_asked",
        "_call",
        "_clock",
        "_error",
        "_headers",
        "_hider",
        "_last_byte",
        "_live",
        "_request",
        "_tally",
        "_usage",
        "events",
        "response",
        "status",
    )

    def __init__(self, call: "Call", tally: Tally) -> None:
        self._clock = call.clock
        self._asked = call.clock()
        self._tally = tally
        self._arrived = call.arrived
        self._request = call.request
        self._live = call.live
        self._usage = call.usage = Usage()
        self._call = call
        self._hider = WithoutUsage() if call.hides_usage else None
        self._error: bytearray | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self.response = call.response
        self.events = call.response.started
        self._last_byte: float | None = None
        self.status = 0

    def on_head(
        self, status: int, headers: list[tuple[bytes, bytes]], length_bytes: int | None
    ) -> None:
        if status < 500:  # else another engine may be asked
            self._request.forget_body()
        self.status = status
        self._headers = headers
        if status >= 400:
            self._error = bytearray()
            return
        if not self.response.started:
            self.events = any(
                name == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in headers
            )
            relayed = [h for h in headers if h[0] in _RELAYED or h[0].startswith(_RELAYED_KINDS)]
            self.response.start(status, relayed, length_bytes)

    def on_data(self, data: bytes) -> None:
        if self._error is not None:
            self._error += data
            if len(self._error) > ENGINE_ERROR_BYTES:
                raise ValueError("more than an error has to say")  # ends the exchange
            return
        if self.events:
            now = self._clock()
            stats = self._live.stats
            if self._last_byte is None:
                self._call.first_byte = now
                stats.first_byte.observe(now - self._arrived)
                self._tally.began(now - self._asked)
            else:
                stats.gaps.observe(now - self._last_byte)
            self._last_byte = now
        self._usage.feed(data)
        if self._hider is not None and self.events:
            data = self._hider.feed(data)
        self.response.write(data)

    def flush(self) -> None:
        self.response.flush()

    def end(self) -> None:
        """The response came whole."""
        if self._error is None:
            if self._hider is not None:
                self.response.write(self._hider.end())
            self.response.end()
            return
        self._refuse(self._error)

    def count(self) -> None:
        """Adds the tokens that came to the route's, whether or not the answer ended."""
        if self.status and self._error is None:
            input_tokens, output_tokens = self._usage.tokens()
            self._live.stats.input_tokens += input_tokens
            self._live.stats.output_tokens += output_tokens

    def _refuse(self, error: bytearray) -> None:
        """The engine refused: its error, as far as it came."""
        self._call.asked = False
        body = engine_error_body(self.status, bytes(error[:ENGINE_ERROR_BYTES]))
        if self.response.started:
            self.response.fail_event(body)
        else:
            kept = [h for h in self._headers if h[0] in _TOLD_WITH_ERRORS]
            self.response.send(self.status, body, headers=kept)

    def broke(self, replica: Replica, error: EngineBroke) -> int:
        """The response ended early; the status that says so.

        One of known length is left unended: the client is cut off.
        """
        log.warning("%s broke off its answer: %s", replica.endpoint, error)
        if self._error is not None:
            self._refuse(self._error)
            return self.status
        failure = GatewayError(
            502, "EngineBroke", "The engine broke off its answer. Send the request again."
        )
        if self.events or not self.response.started:
            self.response.fail(failure)
        return failure.status


@dataclass(slots=True)
class Call:
    """One request for one route. `arrived` and `clock` are the event loop's seconds."""

    request: Request
    response: Response
    live: LiveRoute
    path: str
    """On the engine."""
    stream: bool
    limits: Limits
    clock: Callable[[], float]
    arrived: float
    blocks: Sequence[int] = ()
    """Of the prompt, for its affinity to a replica."""
    hides_usage: bool = False
    """A stream's event of nothing but the usage is not for the client."""
    asked: bool = False
    """Whether an engine took the request and did not refuse it."""
    usage: Usage = field(default_factory=Usage)
    first_byte: float | None = None
    """When the first byte of a stream came from an engine."""
    replica: str = ""
    """The endpoint that was asked last."""

    async def forward(self) -> int:
        """Answers the request and returns the status. GatewayError if nobody could."""
        try:
            return await self._forward()
        except GatewayError as error:
            fallback = self.live.fallback_for(error.reason)
            if fallback is None:
                raise
            self.live.stats.spilled[error.reason] += 1
            model, self.live = self.live.route.model, fallback
            try:
                return await self._forward()
            except GatewayError as failure:
                log.warning("The fallback of %r failed: %s", model, failure)
                raise error from failure

    async def _forward(self) -> int:
        """GatewayError if no engine could.

        A replica that cannot be connected to costs nothing and is tried again until the hold
        deadline; one that took the request and answered nothing counts as a retry.
        """
        tried: set[Replica] = set()
        unanswered = 0
        replica = self.live.take(self.blocks) or await self._held(first=False)
        while True:
            sent = False
            tally = replica.group.tally
            try:
                connection = await replica.pool.take(fresh=bool(tried))
                sent = True
                return await self._ask(replica, connection, tally)
            except EngineUnreachable as error:
                self.asked = False
                log.warning("%s did not answer: %s", replica.endpoint, error)
                if not error.stale:
                    self._eject(replica)
                    if sent:
                        tally.ended(502)
            finally:
                self.live.release(replica)
            tried.add(replica)
            unanswered += sent
            if unanswered > self.limits.retries:
                raise GatewayError(
                    502,
                    "EngineUnreachable",
                    f"{unanswered} times an engine of {self.live.route.model!r} took the request "
                    "and did not answer. Look at the logs of the deployment's pods.",
                )
            replica = self.live.take(tried=tried) or await self._held(first=True)

    async def _ask(self, replica: Replica, connection: EngineConnection, tally: Tally) -> int:
        answer = _Answer(self, tally)
        self.response.attach(connection.transport)
        done = False
        try:
            self.asked = True
            self.replica = replica.endpoint
            if self.blocks:
                self.live.remember(self.blocks, replica)
            await connection.exchange(
                self._engine_request(replica), answer, self.limits.engine_silence_seconds
            )
            done = True
        except EngineBroke as error:
            tally.ended(502)
            return answer.broke(replica, error)
        finally:
            answer.count()
            self.response.attach(None)
            if done:
                replica.pool.give_back(connection)
            else:
                connection.drop()
        tally.ended(answer.status)
        if answer.status >= 500 and self.live.fallback_for("EngineFailed"):
            self.asked = False
            raise GatewayError(
                502, "EngineFailed", f"An engine of {self.live.route.model!r} failed. Try again."
            )
        answer.end()
        return answer.status

    def _engine_request(self, replica: Replica) -> list[bytes]:
        body = self.request.body
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: {replica.endpoint}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        ).encode()
        head += b"x-request-id: %s\r\n" % self.request.id
        for name in _FORWARDED:
            value = self.request.headers.get(name)
            if value is not None:
                head += b"%s: %s\r\n" % (name, value)
        return [head + b"\r\n", body]

    def _eject(self, replica: Replica) -> None:
        self.live.eject(replica)
        loop = asyncio.get_running_loop()
        loop.call_later(self.limits.ejection_seconds, self.live.readmit, replica)

    async def _held(self, *, first: bool) -> Replica:
        """Waits for a place. A stream hears a comment now and then, which commits it to a 200."""
        route = self.live.route
        deadline = self.arrived + route.hold_deadline_seconds
        began = self.clock()
        place = self.live.wait(first=first)
        granted = False
        try:
            while not place.done():
                left = deadline - self.clock()
                if left <= 0:
                    raise _deadline_exceeded(route.model, route.hold_deadline_seconds)
                pause = min(left, self.limits.comment_seconds) if self.stream else left
                await asyncio.wait([place], timeout=pause)
                if self.stream and not place.done():
                    self.response.start_events()
                    self.response.write(_comment(self.live, place))
                    self.response.flush()
            replica = place.result()
            granted = True
            self.live.stats.queued.observe(self.clock() - began)
            return replica
        finally:
            if not granted:
                self.live.leave(place)


def _comment(live: LiveRoute, place: Place) -> bytes:
    """For a stream that waits: its place, and when a replica is expected if that is known."""
    text = f": waiting for a replica, place {live.position(place)} of {live.waiting}"
    seconds = (live.route.replica_expected or 0) - time.time()
    return f"{text}, about {seconds:.0f} s\n\n".encode() if seconds > 1 else f"{text}\n\n".encode()


def _deadline_exceeded(model: str, seconds: int) -> GatewayError:
    return GatewayError(
        503,
        "HoldDeadlineExceeded",
        f"No replica of {model!r} became free within {seconds} s (spec.hold.deadlineSeconds). "
        "`kubectl describe llmdeployment` says why; try again.",
        retry_after_seconds=10,
    )
