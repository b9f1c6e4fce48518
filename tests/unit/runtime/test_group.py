"""Which errors of a collective mean that a peer is gone."""

import pytest

from llmcloud_runtime.group import speaks_of_a_lost_peer


@pytest.mark.parametrize(
    "message",
    [
        "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:41234",
        "[gloo/transport/tcp/pair.cc:547] Read error [10.0.0.2]:4: Connection reset by peer",
        "[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 600000ms for recv operation",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting"
        " prematurely.",
        "ncclSystemError: Last error: socketStartConnect: Connect to 10.0.0.2<1> failed : "
        "Connection refused",
        "NCCL communicator was aborted on rank 1.",
        "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)",
    ],
)
def test_a_peer_is_gone(message: str) -> None:
    assert speaks_of_a_lost_peer(message)


@pytest.mark.parametrize(
    "message",
    [
        "ncclInvalidUsage: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 7000",
        "ncclUnhandledCudaError: Call to CUDA function failed. CUDA driver version is insufficient",
        "ncclSystemError: Last error: Call to ibv_create_qp failed",
        "[gloo/transport/tcp/device.cc:83] rv != -1. Unable to resolve host",
        "peer access is not supported between these two devices",
        "mat1 and mat2 shapes cannot be multiplied",
    ],
)
def test_a_wrong_setting_is_no_lost_peer(message: str) -> None:
    assert not speaks_of_a_lost_peer(message)
