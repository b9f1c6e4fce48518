"""What kubectl apply takes and refuses of training jobs that test_admission.py has no room for."""

from urllib.error import HTTPError

import pytest

from tests.support.kube import Kube
from tests.support.objects import changed, training_job


def test_how_long_pods_stay_is_bounded_and_can_be_changed(kube: Kube) -> None:
    kube.namespace("admission")
    job = training_job("admission", name="ttl")
    assert kube.apply(job)["spec"]["podsTTLSeconds"] == 86400
    assert kube.apply(changed(job, "podsTTLSeconds", 0))["metadata"]["generation"] == 2
    with pytest.raises(HTTPError, match=r"spec\.podsTTLSeconds"):
        kube.apply(changed(job, "podsTTLSeconds", -1))
