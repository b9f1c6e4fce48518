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


def test_more_arguments_of_the_trainer_keep_their_types_and_do_not_change(kube: Kube) -> None:
    kube.namespace("admission")
    extra = {"label_smoothing_factor": 0.1, "max_grad_norm": 2, "tf32": True, "optim": "sgd"}
    job = training_job("admission", name="extra", hyperparameters={"maxSteps": 1, "extra": extra})
    assert kube.apply(job)["spec"]["hyperparameters"]["extra"] == extra
    for path, value in (("max_grad_norm", 1), ("tf32", None), ("adam_beta1", 0.8)):
        with pytest.raises(HTTPError, match=r"spec\.hyperparameters is immutable"):
            kube.apply(changed(job, f"hyperparameters.extra.{path}", value))
    many = {f"a{number}": number for number in range(33)}
    with pytest.raises(HTTPError, match=r"spec\.hyperparameters\.extra"):
        kube.apply(changed(job, "hyperparameters.extra", many))
