"""The processes that train one model together: who they are, what they agree on, who is lost.

Ranks are numbered node by node. They meet at a key-value store that rank 0 serves; gradients go
over NCCL between GPUs and over gloo between CPUs. A rank that is alone needs none of it.

A lost node closes no connection: the others would wait for it until a collective times out. So
every rank counts up in the store, and rank 0 and the others watch each other.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from llmcloud.api.contract import TrainingTask
from llmcloud_runtime.errors import PeerLost

MEETING_PORT = 29500
JOIN_SECONDS = 900
"""The other pods may pull their image, or wait for a node."""
COLLECTIVE_SECONDS = 600
BEAT_SECONDS = 2.0
LOST_SECONDS = 20.0
"""A rank that has not counted for so long is lost."""
LEAVE_SECONDS = 0.1

ENV_INDEX = "JOB_COMPLETION_INDEX"
ENV_LOCAL_RANK = "LOCAL_RANK"

_LOST = re.compile(
    r"connection (closed|reset|refused)|broken pipe|socket (timeout|closed)|timed? ?out waiting"
    r"|not connected|remote process exit|collective operation timeout|application timeout"
    r"|communicator was aborted",
    re.IGNORECASE,
)
"""In gloo's and NCCL's words. Their other errors are no loss of a peer: a wrong setting gives them
at every attempt."""

log = logging.getLogger(__name__)


@dataclass
class Group:
    """One rank's view. `store` and `control` are None where it is alone."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    store: Any = None
    control: Any = None
    saving: Any = None
    """The processes again, for the threads that write checkpoints."""
    peers: "_Peers | None" = None

    @property
    def leads(self) -> bool:
        """Whether this is the rank that holds the ledger, evaluates and publishes."""
        return self.rank == 0

    def shared(self, key: str, make: Callable[[], str]) -> str:
        """Rank 0's text, on all ranks."""
        if self.ranks == 1:
            return make()
        if self.leads:
            self.store.set(key, make())
        return str(self.store.get(key).decode())

    def agree(self, *, stop: bool, due: bool, busy: bool) -> tuple[bool, bool]:
        """(stop, save), the same on all ranks: one is asked to stop, rank 0 finds a checkpoint
        due, nobody is busy with the one before."""
        if self.ranks == 1:
            return stop, due and not busy
        import torch
        import torch.distributed as dist

        votes = torch.tensor([stop, due and self.leads, busy], dtype=torch.int32)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self.control)
        any_stop, any_due, any_busy = (bool(vote) for vote in votes.tolist())
        return any_stop, any_due and not any_busy

    def leave(self) -> None:
        """This rank has done its part: its silence means nothing. Rank 0 leaves last."""
        if self.peers is not None:
            self.peers.leave()


ALONE = Group()


def rank_of(task: TrainingTask) -> int:
    """This process' rank: by the pod's place in its Job, and its own in the pod."""
    return int(os.environ.get(ENV_INDEX, "0")) * task.processes + _local_rank()


def _local_rank() -> int:
    return int(os.environ.get(ENV_LOCAL_RANK, "0"))


def join(task: TrainingTask, lost: Callable[[PeerLost], None]) -> Group:
    """Meet the other ranks. `lost` is called in a thread when one of them is gone.

    Raises PeerLost if they do not come.
    """
    ranks = task.nodes * task.processes
    if ranks == 1:
        return ALONE
    import torch
    import torch.distributed as dist

    local, rank = _local_rank(), rank_of(task)
    host = task.leader if task.nodes > 1 and rank else "127.0.0.1"
    names = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": local,
             "LOCAL_WORLD_SIZE": task.processes, "MASTER_ADDR": host,
             "MASTER_PORT": _port()}  # fmt: skip
    os.environ.update({name: str(value) for name, value in names.items()})
    with lost_peers("meeting the other ranks"):
        store = dist.TCPStore(
            host, _port(), ranks, rank == 0, timeout=timedelta(seconds=JOIN_SECONDS)
        )
        gpus = torch.cuda.is_available()
        if gpus:
            torch.cuda.set_device(local)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=dist.PrefixStore("training", store),
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=COLLECTIVE_SECONDS),
        )
        control, saving = dist.new_group(backend="gloo"), dist.new_group(backend="gloo")
    group = Group(rank, ranks, local, store, control, saving)
    group.peers = _Peers(group, lost)
    log.info("Rank %d of %d", rank, ranks)
    return group


def speaks_of_a_lost_peer(message: str) -> bool:
    """Whether an error of gloo or NCCL says that a peer is gone."""
    return _LOST.search(message) is not None


@contextmanager
def lost_peers(doing: str) -> Iterator[None]:
    """A collective that fails for want of a peer becomes PeerLost."""
    import torch.distributed as dist

    try:
        yield
    except RuntimeError as error:
        # The store's errors and the network's are of their own; a backend's may be anything.
        told = isinstance(error, dist.DistError) and not isinstance(error, dist.DistBackendError)
        if not told and not speaks_of_a_lost_peer(str(error)):
            raise
        raise PeerLost(
            f"Another rank was lost while {doing}; the next attempt goes on from the last "
            "checkpoint."
        ) from error


def _port() -> int:
    return int(os.environ.get("LLMCLOUD_MEETING_PORT", MEETING_PORT))


def _beat_key(rank: int) -> str:
    return f"beat/{rank}"


class _Peers:
    """Counts up in the store, and calls `lost` in a thread when another does not any more."""

    def __init__(self, group: Group, lost: Callable[[PeerLost], None]) -> None:
        self._rank, self._lost = group.rank, lost
        self._store = group.store.clone()
        self._store.set_timeout(timedelta(seconds=LOST_SECONDS))
        others = [rank for rank in range(group.ranks) if rank != group.rank]
        self._watched = others if group.leads else [0]
        self._seen: dict[int, tuple[str, float]] = {}
        self._failed = False
        self._answered = time.monotonic()
        self._left = threading.Event()
        self._store.set(_beat_key(group.rank), "0")
        self._beating = threading.Thread(target=self._beat, name="beat", daemon=True)
        self._beating.start()
        threading.Thread(target=self._watch, name="peers", daemon=True).start()

    def leave(self) -> None:
        """Say so; the rank that serves the store waits until the others have."""
        self._left.set()
        self._beating.join(LOST_SECONDS)

    def _beat(self) -> None:
        count = 0
        try:
            while not self._left.wait(BEAT_SECONDS):
                count += 1
                self._store.set(_beat_key(self._rank), str(count))
                self._look()
                self._answered = time.monotonic()
            self._store.set(_beat_key(self._rank), "left")
            while self._rank == 0 and self._watched:
                self._look()
                time.sleep(LEAVE_SECONDS)
        except Exception as error:  # the store is rank 0's: without an answer it is gone
            log.warning("Peers: %s", error)
            self._failed = True

    def _look(self) -> None:
        for rank in list(self._watched):
            word = self._store.get(_beat_key(rank)).decode()
            before, since = self._seen.get(rank, ("", time.monotonic()))
            if word == "left":
                self._watched.remove(rank)
            elif word != before:
                self._seen[rank] = (word, time.monotonic())
            elif time.monotonic() - since > LOST_SECONDS:
                raise TimeoutError(f"rank {rank} is silent")

    def _watch(self) -> None:
        """A client of a store that is frozen waits beyond its timeout: this thread counts."""
        while not self._left.wait(BEAT_SECONDS):
            if self._failed or time.monotonic() - self._answered > LOST_SECONDS:
                self._lost(
                    PeerLost(
                        f"Another rank has been silent for {LOST_SECONDS:.0f} s; the next attempt "
                        "goes on from the last checkpoint."
                    )
                )
                return
