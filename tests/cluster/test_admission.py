"""What kubectl apply refuses, and whether it names the field and the remedy."""

from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support.kube import Kube
from tests.support.objects import (
    access_key,
    changed,
    dataset,
    deployment,
    store,
    training_job,
)

BASES = {
    "store": store,
    "dataset": dataset,
    "training": training_job,
    "deployment": deployment,
    "key": access_key,
}

ROLE = {"roleArn": "arn:aws:iam::123456789012:role/data"}
APPLICATION = {
    "tenantId": "11111111-1111-1111-1111-111111111111",
    "clientId": "22222222-2222-2222-2222-222222222222",
}
EXTERNAL = {
    "provider": "openai",
    "model": "gpt",
    "apiKeySecretRef": {"name": "keys", "key": "openai"},
}

MODEL = {"store": {"name": "work", "path": "model/"}}
CUSTOM = {"name": "custom", "image": "registry/a:1"}

REFUSED: list[tuple[str, str, Any, str]] = [
    ("store", "provider", "ftp", "spec.provider"),
    ("store", "provider", None, "spec.provider"),
    ("store", "bucket", "ab", "spec.bucket"),
    ("store", "prefix", "/absolute/", "spec.prefix"),
    ("store", "prefix", "no-slash", "spec.prefix"),
    ("store", "endpoint.url", "store:9000", "spec.endpoint.url"),
    ("store", "provider", "azure", "set or remove spec.azure"),
    ("store", "azure", {"account": "teama"}, "set or remove spec.azure"),
    ("store", "bucket", "team_a", "only buckets of gcp have underscores"),
    ("store", "bucket", "team..a", "a dot in a bucket's name stands between"),
    ("store", "credentials", {}, "set exactly one of secretRef, aws, gcp, azure"),
    ("store", "credentials.aws", ROLE, "set exactly one of secretRef, aws, gcp, azure"),
    ("store", "credentials", {"azure": APPLICATION}, "credentials are of another cloud"),
    ("dataset", "sources", [], "spec.sources"),
    ("dataset", "type", "video", "spec.type"),
    ("dataset", "tokenizer.train.vocabularySize", 10, "vocabularySize"),
    ("dataset", "tokenizer", {}, "set exactly one of train, model"),
    ("dataset", "tokenizer.model", {"hub": {"name": "gpt2"}}, "set exactly one of train, model"),
    ("dataset", "tokenizer", {"model": {}}, "set exactly one of hub, store, trainingJob"),
    ("dataset", "prepare.split.validationFraction", 0.9, "validationFraction"),
    (
        "dataset", "tokenizer.train", {"algorithm": "wordpiece", "vocabularySize": 599},
        "wordpiece needs a vocabularySize of at least 600",
    ),
    (
        "dataset", "sources", [{"store": {"name": "raw"}, "fields": {"text": "body"}}],
        "fields names members of records",
    ),
    (
        "dataset", "sources", [{"store": {"name": "raw"}, "hub": {"name": "wikitext"}}],
        "set exactly one of store, url, hub",
    ),
    (
        "dataset", "sources", [{"url": "https://example.com/a.txt"}],
        "sha256 is the digest of what lies at url",
    ),
    (
        "dataset", "sources", [{"url": "http://example.com/a.txt", "sha256": "0" * 64}],
        "spec.sources[0].url",
    ),
    ("dataset", "sources", [{"hub": {"name": "../a"}}], "spec.sources[0].hub.name"),
    ("dataset", "type", "chat", "formats text and code hold texts"),
    ("dataset", "labels", ["a"], "types labeled and tags need labels, the others have none"),
    (
        "dataset", "sources",
        [{"store": {"name": "raw"}, "format": "jsonl", "fields": {"label": "stars"}}],
        "fields.label is for type labeled",
    ),
    ("dataset", "prepare.clean.languages", ["english"], "languages"),
    ("dataset", "prepare.redact.entities", ["names"], "entities"),
    ("dataset", "prepare.deduplicate.near.similarityPercent", 99, "similarityPercent"),
    ("dataset", "output.store.path", "no-slash", "spec.output.store.path"),
    ("training", "model.architecture.heads", 7, "hiddenSize must be a multiple of heads"),
    ("training", "model.architecture.keyValueHeads", 3, "heads must be a multiple of"),
    ("training", "model.architecture.family", "t5", "family does not fit the task"),
    ("training", "model.hub", {"name": "gpt2"}, "set exactly one of architecture, hub, store"),
    ("training", "model", {"hub": {"name": "../gpt2"}}, "spec.model.hub.name"),
    ("training", "model", {"hub": {"name": "gpt2"}}, "pretrain begins from scratch"),
    ("training", "model", {"trainingJob": {}}, "set exactly one of name, selector"),
    ("training", "method", "finetune", "this method needs a model that exists"),
    ("training", "method", "distill", "distill and its member distill need each other"),
    ("training", "method", "evaluate", "for the method evaluate set"),
    ("training", "method", "qlora", "qlora needs a GPU"),
    ("training", "lora", {"rank": 4}, "lora is for the methods lora and qlora"),
    ("training", "promptTuning", {}, "promptTuning is for the method prompt-tuning"),
    (
        "training", "evaluation", {"metrics": [{"name": "bleu"}]}, "a metric does not fit the task",
    ),
    ("training", "hyperparameters", None, "set hyperparameters with maxSteps or epochs"),
    ("training", "hyperparameters.epochs", 1, "set exactly one of maxSteps, epochs"),
    ("training", "hyperparameters", {}, "set exactly one of maxSteps, epochs"),
    ("training", "hyperparameters.learningRate", -1, "learningRate"),
    ("training", "datasets", [], "set datasets"),
    ("training", "checkpoint", {"everySeconds": 5, "everySteps": 5}, "not both"),
    ("training", "resources.memory", "lots", "spec.resources.memory"),
    ("training", "task", "mind-reading", "spec.task"),
    ("training", "nodes", {"min": 3, "max": 2}, "min must not be above max"),
    ("training", "resources", {"count": 8}, "set accelerator, or remove count"),
    ("training", "resources.accelerator", "H100", "spec.resources.accelerator"),
    ("training", "placement", [{"capacity": "Reserved"}], "capacity"),
    ("deployment", "model", {}, "set exactly one of store, trainingJob"),
    ("deployment", "model.trainingJob", {}, "set exactly one of name, selector"),
    ("deployment", "scaling", {"minReplicas": 3, "maxReplicas": 1}, "must not be above"),
    ("deployment", "rollout", {"canary": {"steps": [50, 10]}}, "steps must rise"),
    ("deployment", "rollout", {"canary": {"steps": [10, 10]}}, "spec.rollout.canary.steps"),
    ("deployment", "rollout", {"canary": {"steps": [100]}}, "spec.rollout.canary.steps"),
    ("deployment", "rollout", {"canary": {"steps": []}}, "spec.rollout.canary.steps"),
    ("deployment", "servedModelName", "No Spaces", "spec.servedModelName"),
    ("deployment", "hold.deadlineSeconds", 0, "deadlineSeconds"),
    ("deployment", "prompts", [{"name": "s", "user": "Say: "}], "add {input}"),
    (
        "deployment", "prompts", [{"name": n, "system": "x" * 16380} for n in ("a", "b", "c")],
        "prompts have more than 32768 characters in all",
    ),
    ("deployment", "model", None, "set exactly one of model, external"),
    ("deployment", "external", EXTERNAL, "set exactly one of model, external"),
    ("deployment", "fallback", {"external": {**EXTERNAL, "url": "http://a"}}, "external.url"),
    ("deployment", "fallback", {"external": {**EXTERNAL, "apiVersion": "1"}}, "apiVersion belongs"),
    ("deployment", "fallback", {"external": EXTERNAL, "when": ["never"]}, "fallback.when"),
    (
        "deployment", "fallback", {"external": {"provider": "openai", "model": "m"}},
        "this provider needs apiKeySecretRef",
    ),
    (
        "deployment", "fallback", {"external": {**EXTERNAL, "provider": "vertex-ai"}},
        "project and location belong to vertex-ai",
    ),
    (
        "deployment", "fallback", {"external": {"provider": "compatible", "model": "m"}},
        "this provider needs url",
    ),
    ("deployment", "engine", {"name": "tensorrt"}, "spec.engine.name"),
    ("deployment", "engine", {"name": "vllm"}, "engine vllm needs accelerators"),
    ("deployment", "engine", {"name": "custom"}, "image belongs to engine custom, which needs it"),
    ("deployment", "engine", {"image": "a"}, "image belongs to engine custom, which needs it"),
    ("deployment", "engine", {"port": 8081}, "are for engine custom"),
    ("deployment", "engine", {"args": ["-v"]}, "args are for engines vllm and custom"),
    (
        "deployment", "engine", {"name": "custom", "image": "a", "port": 9090},
        "port 9090 is taken by reports",
    ),
    ("deployment", "engine", {"name": "custom", "image": "a b"}, "spec.engine.image"),
    ("deployment", "resources", {"count": 2}, "set accelerator, or remove count"),
    ("deployment", "nodes", {"min": 1, "max": 2}, "set min equal to max"),
    ("deployment", "nodes", {"min": 2, "max": 2}, "several nodes need engine vllm"),
    ("deployment", "placement", [{"zone": "a"}, {"waitSeconds": 60}], "is for training: remove it"),
    ("deployment", "placement", [{"zone": "a"}] * 9, "spec.placement"),
    ("deployment", "adapters", [{"name": "a", "model": {}}], "set exactly one of store"),
    ("deployment", "adapters", [{"name": "A", "model": MODEL}], "spec.adapters[0].name"),
    ("deployment", "adapters", [{"name": "a", "model": MODEL}] * 2, "spec.adapters: duplicate"),
    *(
        (
            "deployment", "engine", {"name": "vllm", "args": [argument]},
            "args has an option that is set for you",
        )
        for argument in ("--trust-remote-code", "--trust_remote_code", "--port=1", "--model", "-n")
    ),
    ("key", "sha256", "5" * 63, "spec.sha256"),
    ("key", "sha256", None, "spec.sha256"),
    ("key", "deployments", {}, "set exactly one of names, selector"),
    ("key", "deployments.names", [], "spec.deployments.names"),
    (
        "key", "deployments.selector.matchExpressions", [{"key": "a", "operator": "In"}],
        "In and NotIn need values",
    ),
    ("key", "expiresAt", "tomorrow", "spec.expiresAt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"), REFUSED, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in REFUSED]
)
def test_an_invalid_object_is_refused_by_name_of_its_field(
    kube: Kube, kind: str, path: str, value: Any, said: str
) -> None:
    kube.namespace("admission")
    invalid = changed(BASES[kind]("admission", name="invalid"), path, value)
    with pytest.raises(HTTPError) as refusal:
        kube.apply(invalid)
    assert refusal.value.code in (400, 422, 500)  # 500: a duplicate, told by server-side apply
    assert said in str(refusal.value.reason)


EXAMPLES: list[tuple[dict[str, Any], str | None]] = [
    ({"type": "labeled", "labels": ["a", "b"]}, None),
    ({"type": "labeled"}, "types labeled and tags need labels"),
    ({"type": "labeled", "labels": ["a", "a"]}, "labels"),
    ({"type": "tags", "labels": ["O"], "prepare": {"redact": {}}}, "part tokens from their tags"),
    ({"type": "pairs", "format": "csv"}, None),
    ({"type": "chat", "format": "csv"}, "hold lists, which csv has not"),
]


@pytest.mark.parametrize(("members", "said"), EXAMPLES)
def test_examples_need_what_belongs_to_their_type(
    kube: Kube, members: dict[str, Any], said: str | None
) -> None:
    kube.namespace("admission")
    spec = {**members}
    source = {"store": {"name": "work"}, "format": spec.pop("format", "jsonl")}
    name = "-".join(["examples", *members]).lower()
    manifest = dataset("admission", name=name, sources=[source], **spec)
    if said is None:
        kube.apply(manifest)
        return
    with pytest.raises(HTTPError, match=said):
        kube.apply(manifest)


def test_a_name_too_long_for_its_children_is_refused(kube: Kube) -> None:
    kube.namespace("admission")
    with pytest.raises(HTTPError, match="at most 46"):
        kube.apply(store("admission", name="s" * 47))


def test_a_queue_needs_a_fixed_number_of_nodes(kube: Kube) -> None:
    kube.namespace("admission")
    kube.apply(training_job("admission", name="queued", queue="gpu", nodes={"min": 4, "max": 4}))
    with pytest.raises(HTTPError, match="the same"):
        kube.apply(training_job("admission", name="no", queue="gpu", nodes={"min": 1, "max": 4}))


def test_a_budget_is_of_accelerators_and_can_be_raised(kube: Kube) -> None:
    kube.namespace("admission")
    job = training_job("admission", name="budget", budget={"acceleratorHours": 0.5})
    with pytest.raises(HTTPError, match=r"set resources\.accelerator"):
        kube.apply(job)
    job = changed(job, "resources", {"accelerator": "nvidia-l4"})
    kube.apply(job)
    assert kube.apply(changed(job, "budget.acceleratorHours", 2))["metadata"]["generation"] == 2


def test_deleting_a_bucket_that_was_not_created_is_refused(kube: Kube) -> None:
    kube.namespace("admission")
    with pytest.raises(HTTPError, match="needs create: true"):
        kube.apply(store("admission", create=False, reclaimPolicy="Delete"))


def test_a_container_has_the_name_of_a_container(kube: Kube) -> None:
    kube.namespace("admission")
    container = {"provider": "azure", "azure": {"account": "teama"}}
    kube.apply(store("admission", name="container", **container, bucket="team-a"))
    with pytest.raises(HTTPError, match="names of containers have"):
        kube.apply(store("admission", name="invalid", **container, bucket="team--a"))


def test_an_own_image_has_no_adapters(kube: Kube) -> None:
    kube.namespace("admission")
    adapters = [{"name": "a", "model": MODEL}]
    with pytest.raises(HTTPError, match="adapters are for models that vllm or transformers"):
        kube.apply(deployment("admission", name="own", engine=CUSTOM, adapters=adapters))


def test_a_replica_of_several_nodes_is_in_one_place(kube: Kube) -> None:
    kube.namespace("admission")
    places = [{"zone": "a"}, {"zone": "b"}]
    members = {
        "resources": {"accelerator": "nvidia-h100", "count": 8},
        "nodes": {"min": 2, "max": 2},
    }
    kube.apply(deployment("admission", name="one-place", placement=places[:1], **members))
    with pytest.raises(HTTPError, match="name one in placement, or set nodes to 1"):
        kube.apply(deployment("admission", name="two-places", placement=places, **members))


IMMUTABLE: list[tuple[str, str, Any]] = [
    ("store", "bucket", "other-bucket"),
    ("store", "prefix", "set-later/"),
    ("store", "endpoint", None),
    ("store", "region", "eu-west-1"),
    ("dataset", "sequenceLength", 128),
    ("dataset", "tokenizer.train.vocabularySize", 1024),
    ("training", "hyperparameters.maxSteps", 11),
    ("training", "evaluation", {"metrics": [{"name": "perplexity"}]}),
    ("training", "resources.memory", "8Gi"),
    ("training", "queue", "gpu"),
    ("training", "placement", [{"capacity": "Spot"}]),
    ("deployment", "servedModelName", "set-later"),
    ("key", "sha256", "6" * 64),
]


@pytest.mark.parametrize(
    ("kind", "path", "value"), IMMUTABLE, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in IMMUTABLE]
)
def test_a_change_of_an_immutable_field_is_refused_with_the_remedy(
    kube: Kube, kind: str, path: str, value: Any
) -> None:
    kube.namespace("admission")
    base = BASES[kind]("admission", name=f"fixed-{kind}")
    kube.apply(base)
    with pytest.raises(HTTPError) as refusal:
        kube.apply(changed(base, path, value))
    field = path.split(".")[0]
    assert f"spec.{field} is immutable: create a new" in str(refusal.value.reason)


MUTABLE: list[tuple[str, str, Any]] = [
    ("store", "credentials", {"secretRef": {"name": "rotated"}}),
    ("store", "reclaimPolicy", "Delete"),
    ("dataset", "sources", [{"store": {"name": "work", "path": "more/"}}]),
    ("training", "suspend", True),
    ("training", "backoffLimit", 5),
    ("training", "nodes", {"min": 1, "max": 4}),
    ("training", "checkpoint", {"everySteps": 7}),
    ("deployment", "scaling", {"mode": "External"}),
    ("deployment", "rollout", {"canary": {"steps": [1, 50, 99], "abort": {"errorPercent": 0}}}),
    ("deployment", "fallback", {"external": EXTERNAL, "when": ["failure"]}),
    ("deployment", "model", MODEL),
    ("deployment", "prompts", [{"name": "s", "user": "Say: {input}"}]),
    ("deployment", "engine", {**CUSTOM, "command": ["serve"]}),
    ("deployment", "resources", {"accelerator": "nvidia-h100", "count": 8}),
    ("deployment", "placement", [{"capacity": "Spot"}, {"capacity": "OnDemand"}]),
    ("deployment", "adapters", [{"name": "a", "model": MODEL}]),
    ("key", "disabled", True),
    ("key", "expiresAt", "2027-01-01T00:00:00Z"),
    ("key", "deployments", {"names": ["wiki"]}),
]


METHODS: list[Any] = [
    {"method": "finetune", "model": {"hub": {"name": "gpt2"}}},
    {"method": "lora", "model": {"store": {"name": "work", "path": "m/"}}, "lora": {"rank": 4}},
    {
        "method": "qlora",
        "model": {"hub": {"name": "org/model", "revision": "v1"}},
        "resources": {"accelerator": "nvidia-l4"},
    },
    {
        "method": "prompt-tuning",
        "model": {"trainingJob": {"selector": {"matchLabels": {"app": "wiki"}}}},
        "promptTuning": {"virtualTokens": 8},
    },
    {"method": "distill", "distill": {"teacher": {"trainingJob": {"name": "large"}}}},
    {
        "method": "evaluate",
        "model": {"trainingJob": {"name": "large"}},
        "hyperparameters": None,
        "datasets": None,
        "evaluation": {"dataset": {"name": "test"}, "metrics": [{"name": "perplexity", "max": 9}]},
    },
]


@pytest.mark.parametrize("members", METHODS, ids=lambda members: members["method"])
def test_every_method_is_accepted_with_what_it_needs(kube: Kube, members: Any) -> None:
    kube.namespace("admission")
    job = training_job("admission", name=f"method-{members['method']}", **members)
    job["spec"] = {name: value for name, value in job["spec"].items() if value is not None}
    assert kube.apply(job)["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("kind", "path", "value"), MUTABLE, ids=[f"{r[0]}-{r[1]}" for r in MUTABLE]
)
def test_a_mutable_field_can_be_changed(kube: Kube, kind: str, path: str, value: Any) -> None:
    kube.namespace("admission")
    base = BASES[kind]("admission", name=f"mutable-{kind}-{path.lower()}")
    kube.apply(base)
    assert kube.apply(changed(base, path, value))["metadata"]["generation"] == 2


def test_a_new_object_is_unknown_until_the_operator_has_looked(kube: Kube) -> None:
    kube.namespace("admission")
    created = kube.apply(training_job("admission", name="unseen"))
    conditions = {c["type"]: c["status"] for c in created["status"]["conditions"]}
    assert conditions == dict.fromkeys(["Ready", "Complete", "Failed", "Suspended"], "Unknown")


def test_scaling_by_hand_is_refused_in_mode_auto_and_works_in_mode_external(kube: Kube) -> None:
    kube.namespace("admission")
    path = "/apis/llmcloud.dev/v1alpha1/namespaces/admission/llmdeployments"
    kube.apply(deployment("admission", name="scaled"))
    with pytest.raises(HTTPError, match=r"set scaling\.mode to External"):
        kube.patch("LLMDeployment", "admission", "scaled", {"spec": {"replicas": 3}}, "scale")
    external = deployment("admission", name="by-hand", scaling={"mode": "External"})
    kube.apply(external)
    kube.patch("LLMDeployment", "admission", "by-hand", {"spec": {"replicas": 3}}, "scale")
    assert kube.call("GET", f"{path}/by-hand/scale")["spec"]["replicas"] == 3
