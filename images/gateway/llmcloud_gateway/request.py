"""One request as the handlers get it, and the count of the bytes that requests hold."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Buffers:
    """Request bodies in memory, all connections together."""

    bytes: int = 0


@dataclass(slots=True)
class Request:
    """One request, its body complete. Header names are lower case.

    `id` is unique among all gateways: the client's own X-Request-Id may be anyone's.
    """

    id: bytes
    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    http_1_1: bool
    keep_alive: bool
    buffers: Buffers = field(repr=False)
    """Where the body's bytes are counted already."""

    def change_body(self, body: bytes) -> None:
        """Has the engine get another body."""
        self.buffers.bytes += len(body) - len(self.body)
        self.body = body

    def forget_body(self) -> None:
        """Frees the body's memory, once nobody can need it again."""
        self.buffers.bytes -= len(self.body)
        self.body = b""
