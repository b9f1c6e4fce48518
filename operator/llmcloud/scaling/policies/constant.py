"""As many replicas as at the start: the rival that costs no thought."""

from llmcloud.scaling.observation import Observation


class ConstantPolicy:
    """Always `replicas`."""

    interval_seconds = 3600.0

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def decide(self, now: float, observation: Observation) -> int:
        """The same number."""
        return self._replicas
