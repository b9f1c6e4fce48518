"""Wait for what an object's Ready condition says."""

from tests.support.kube import Kube, Object, condition
from tests.support.waiting import wait_for


def wait_until(
    kube: Kube, kind: str, namespace: str, name: str, member: str, value: str, seconds: float
) -> Object:
    """Wait until the `status` or `reason` of the object's Ready condition is `value`."""
    found = wait_for(
        f"{kind} {name} has {member} {value}",
        lambda: kube.get(kind, namespace, name),
        lambda owner: condition(owner).get(member) == value,
        seconds,
    )
    assert found is not None
    return found
