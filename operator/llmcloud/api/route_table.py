"""What gateways are told of deployments, and what they tell of them."""

from typing import Final

from llmcloud.api.accesskey import AccessKeyRecord
from llmcloud.api.base import ApiModel
from llmcloud.api.external import Spill
from llmcloud.api.leases import KeySample
from llmcloud.api.prompt import Prompt


class RouteGroup(ApiModel):
    """Some of a route's endpoints, which get a share of its requests."""

    name: str  # the revision of its replicas
    weight: int  # among the weights of all groups
    endpoints: list[str]


class Route(ApiModel):
    """One served model as the gateways see it."""

    namespace: str
    name: str  # the LLMDeployment
    model: str  # servedModelName: what clients ask for, and what the engine answers to
    labels: dict[str, str] = {}  # the LLMDeployment's: keys select by them
    shared: bool  # /v1 serves it; /ns/NAMESPACE/v1 serves it always
    anonymous: bool
    endpoints: list[str]  # host:port of every ready replica
    groups: list[RouteGroup] = []  # of all endpoints, while a canary is tried: the stable one first
    window: str = ""  # what groups count begins anew when it changes
    in_flight_per_replica: int
    hold_max_requests: int
    hold_deadline_seconds: int
    replica_expected: int | None = None  # Unix seconds, while one starts; by the last cold start
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


class GroupSample(ApiModel):
    """What one gateway has counted of one group in the window of its route."""

    name: str
    requests: int = 0  # that an engine took, less those whose client left
    errors: int = 0  # of these: answered with 5xx, not at all, or not to the end
    refusals: int = 0  # of these: answered with 4xx
    streams: int = 0  # that had a first byte
    log_seconds: float = 0.0  # sum of ln(seconds) from the engine's being asked to that byte


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
    window: str = ""
    groups: list[GroupSample] = []


class GatewaySamples(ApiModel):
    """GET /samples of a gateway. `gateway` names its process: a restart is another one."""

    samples: list[RouteSample]
    gateway: str = ""
    keys: list[KeySample] = []
