"""Every bound of the gateway: bytes, connections and seconds, with the defaults it ships."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients and engines can make the gateway hold, and for how long."""

    body_bytes: int = 8 << 20
    """Largest request body; beyond it 413."""
    screened_bytes: int = 64 << 10
    """Larger bodies, and those that do not tell their length, are read for known keys only."""
    buffered_bytes: int = 256 << 20
    """All request bodies in memory together; beyond it 503."""
    head_bytes: int = 32 << 10
    """Request line and headers; beyond it 431."""
    connections: int = 8192
    pipelined_requests: int = 64
    """Requests a client may send ahead of the answers."""

    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    write_stall_seconds: float = 60.0
    """How long a client may read nothing before it is dropped."""
    linger_seconds: float = 2.0
    """How long a refused client is still read, and ignored, so that it sees the answer."""

    connect_seconds: float = 3.0
    engine_idle_seconds: float = 4.0
    """Reuse of engine connections; below uvicorn's keep-alive of 5 s."""
    engine_silence_seconds: float = 600.0
    """How long an engine may send nothing of its answer; beyond it 502."""
    ejection_seconds: float = 5.0
    """How long a replica that could not be reached gets no requests."""
    retries: int = 2
    comment_seconds: float = 5.0
    """Time between the comments that a held stream gets."""
    drain_seconds: float = 300.0
    drain_idle_seconds: float = 5.0
    """How long a draining gateway keeps a connection without a request; its client may be about to
    send one, and is told in the answer to send no more."""

    budget_wait_seconds: float = 10.0
    """How long a request waits for a budget that may still have room."""
    budget_waiting: int = 4096
    """Requests of one key that may wait so."""
