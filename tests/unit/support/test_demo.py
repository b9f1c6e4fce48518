"""When `make demo` must not say that all is well."""

import socket
from pathlib import Path

import pytest

from tests.demo import perplexities
from tests.localcluster.paths import LocalClusterError
from tests.localcluster.processes import ProcessFolder
from tests.support.given import UserCluster
from tests.support.install import require_port


def test_a_port_of_another_program_is_no_gateway_of_ours(tmp_path: Path) -> None:
    cluster = UserCluster(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalClusterError, match=f"port {port} .* PORT="):
            require_port(cluster, port)
        forwards = ProcessFolder(cluster.folder)
        forwards.start(f"gateway-{port}", ["sleep", "600"])
        require_port(cluster, port)
        forwards.stop()
    require_port(cluster, port)


def evaluated(perplexity: float) -> dict[str, object]:
    baselines = {"unigramPerplexity": 100.0, "bigramPerplexity": 60.0}
    values = [{"name": name, "value": value} for name, value in baselines.items()]
    metrics = [{"name": "perplexity", "value": perplexity}]
    return {"status": {"evaluation": {"metrics": metrics, "baselines": values}}}


@pytest.mark.parametrize("perplexity", [50.1, float("nan")])
def test_the_demo_fails_when_the_model_has_not_learned(perplexity: float) -> None:
    assert "it has learned" in perplexities(evaluated(50.0))
    with pytest.raises(LocalClusterError, match="has not learned"):
        perplexities(evaluated(perplexity))
