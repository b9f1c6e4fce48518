"""What gateways are told of deployments, and what they tell of them."""

from typing import Final

from llmcloud.api.accesskey import AccessKeyRecord
from llmcloud.api.base import ApiModel
from llmcloud.api.external import Spill
from llmcloud.api.leases import KeySample
from llmcloud.api.prompt import Prompt


class Route(ApiModel):
    """One served model as the gateways see it."""

    namespace: str
    name: str  # the LLMDeployment
    model: str  # servedModelName: what clients ask for, and what the engine answers to
    labels: dict[str, str] = {}  # the LLMDeployment's: keys select by them
    shared: bool  # /v1 serves it; /ns/NAMESPACE/v1 serves it always
    anonymous: bool
    endpoints: list[str]  # host:port of every ready replica
    in_flight_per_replica: int
    hold_max_requests: int
    hold_deadline_seconds: int
    fallback_endpoints: list[str] = []  # of the egress pods that answer instead
    fallback_when: list[Spill] = []
    created: int  # Unix seconds, for /v1/models
    adapters: list[str] = []  # NAME, served as "model:NAME", which the engine answers to as well
    prompts: list[Prompt] = []  # served as "model/NAME"


class RouteTable(ApiModel):
    """The ConfigMap `ROUTES_CONFIG_MAP` of the operator's namespace, key `ROUTES_KEY`.

    Without a cluster a file, which holds the keys too; in one, gateways watch LLMAccessKeys.
    """

    routes: list[Route]
    keys: list[AccessKeyRecord] | None = None


ROUTES_CONFIG_MAP: Final = "llmcloud-routes"
ROUTES_KEY: Final = "routes.json"


class RouteSample(ApiModel):
    """What one gateway counts of one deployment at this moment; counters begin with the gateway."""

    namespace: str
    name: str
    in_flight: int
    waiting: int  # held, because no replica is ready or all are full
    idle_seconds: float  # since the last request; 0 while any is in flight or waiting
    arrivals: int  # requests
    completions: int  # places on replicas that were given back
    flight_seconds: float  # the integral of in_flight over time
    loads: dict[str, int]  # in flight by endpoint, of those that have any


class GatewaySamples(ApiModel):
    """GET /samples of a gateway. `gateway` names its process: a restart is another one."""

    samples: list[RouteSample]
    gateway: str = ""
    keys: list[KeySample] = []
