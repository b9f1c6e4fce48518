"""What may happen to a custom resource and its pods between two looks: drawn by the laws."""

from llmcloud.api.contract import Retry
from llmcloud.api.names import ANNOTATION_REFRESH, ANNOTATION_SKIP_CLEANUP, Kind, Reason
from llmcloud.plan.model import Manifest, timestamp
from tests.support import worlds
from tests.unit.plan import happenings as happen
from tests.unit.plan.happenings import Fate

CANARY: Manifest = {"canary": {"stepSeconds": 45, "abort": {"minRequests": 10}}}
VARIANTS: dict[Kind, list[Manifest]] = {
    Kind.DEPLOYMENT: [{}, {"rollout": CANARY, "scaling": {"minReplicas": 2, "maxReplicas": 6}}],
    Kind.TRAINING_JOB: [
        {},
        {"placement": [{"zone": "a", "waitSeconds": 45}, {"zone": "b"}]},
        {"nodes": {"min": 1, "max": 4}},
        {
            "nodes": {"min": 2, "max": 4},
            "placement": [{"zone": "a", "waitSeconds": 45}, {"zone": "b"}],
        },
        {
            "nodes": {"min": 1, "max": 2},
            "resources": {"accelerator": "gpu", "count": 2},
            "budget": {"acceleratorHours": 0.02},
        },
    ],
}
"""Members of specifications to begin with."""
EXTERNAL: Manifest = {
    "provider": "openai",
    "model": "gpt",
    "apiKeySecretRef": {"name": "keys", "key": "openai"},
}
SELECTOR = {"matchLabels": {"app": "a"}}
HUNG = happen.says(worlds.refusal(Reason.HUNG, Retry.ENVIRONMENT))
LEFT = happen.says(worlds.refusal(Reason.PEER_LOST, Retry.ENVIRONMENT))
DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True", "message": "drained"}]}
JOB_FATES: dict[str, Fate] = {
    "pod pending": happen.pod("Pending"),
    "pod unschedulable": happen.pod("Pending", **worlds.unschedulable("0/1 nodes: no cpu.")),
    "image missing": happen.pod("Pending", **worlds.waiting("ImagePullBackOff", "not found")),
    "pod running": happen.pod("Running", podIP="10.0.0.2"),
    "succeeds": happen.succeed,
    "out of memory": happen.end("Failed", **worlds.ended(137, "OOMKilled")),
    "crashes": happen.end("Failed", **worlds.ended(1, "Error", "Traceback")),
    "evicted": happen.end("Failed", reason="Evicted", message="low on memory", **DISRUPTED),
    "cannot": happen.end("Failed", **happen.says(worlds.refusal(Reason.SOURCE_EMPTY, Retry.NEVER))),
    "store down": happen.end(
        "Failed", **happen.says(worlds.refusal(Reason.STORE_UNREACHABLE, Retry.ENVIRONMENT))
    ),
    "vanishes": happen.vanish,
    "succeeds without a word": happen.end("Succeeded"),
    "job is lost": happen.lose_job,
    "old pods go": happen.sweep,
    "reports": happen.report,
    "is silent": happen.silence,
    "deleted": happen.remove,
    "deleted in the foreground": happen.remove_in_foreground,
}
REFERENCE_FATES: dict[str, Fate] = {
    "everything ready": happen.everything,
    "store missing": happen.without(Kind.OBJECT_STORE, "work"),
    "store unready": happen.unready(Kind.OBJECT_STORE, "work"),
}
CHANGES: dict[str, Fate] = {
    "more memory": happen.spec(resources={"memory": "3Gi"}),
    "less memory": happen.spec(resources={"memory": "1Gi"}),
    "a newer model": happen.newer_model(worlds.VERSION_2),
    "the first model": happen.newer_model(worlds.MODEL_DIGEST),
}
ROLLOUT_FATES: dict[str, Fate] = {
    **CHANGES,
    "the canary does well": happen.counts(100, ever=True),
    "the canary fails": happen.counts(100, errors=9, ever=True),
    "the canary is slow": happen.counts(100, seconds=3.0, ever=True),
    "the canary is hardly asked": happen.counts(2, ever=True),
    "no counts": happen.uncounted,
    "as a canary": happen.spec(rollout=CANARY),
    "as a canary in one step": happen.spec(rollout={"canary": {"steps": [50], "stepSeconds": 7}}),
    "one by one": happen.replace("rollout"),
    "replicas ready": happen.replicas_ready,
    "no replica ready": happen.replicas_unready,
    "too late": happen.late,
    "an engine is lost": happen.lose_engine,
    "many requests": happen.decided(5, "70 wait"),
    "fewer requests": happen.decided(2, "the load fits"),
    "silence": happen.decided(0, "no request for 900 s"),
}
BEGINNINGS: dict[str, Fate] = {
    "a canary waits": happen.then(happen.replicas_ready, CHANGES["more memory"]),
    "a canary is judged": happen.then(
        happen.replicas_ready, CHANGES["more memory"], happen.replicas_ready
    ),
    "a revision is replaced": happen.then(
        happen.replicas_ready, happen.replace("rollout"), CHANGES["more memory"],
        happen.spec(rollout=CANARY), happen.replicas_ready,
    ),
}  # fmt: skip
"""What a drawn history of a canary begins with, after its first look."""
FATES: dict[Kind, dict[str, Fate]] = {
    Kind.OBJECT_STORE: {
        **JOB_FATES,
        "other keys": happen.spec(credentials={"secretRef": {"name": "new-keys"}}),
        "to be deleted with it": happen.spec(reclaimPolicy="Delete"),
        "to be kept": happen.spec(reclaimPolicy="Retain"),
        "refreshed": happen.annotate(ANNOTATION_REFRESH),
        "let go": happen.annotate(ANNOTATION_SKIP_CLEANUP),
        "invalid": happen.spec(bucket="X"),
    },
    Kind.DATASET: {
        **JOB_FATES,
        **REFERENCE_FATES,
        "other split": happen.spec(prepare={"split": {"validationFraction": 0.25}}),
        "first split": happen.spec(prepare={"split": {"validationFraction": 0.01}}),
        "refreshed": happen.annotate(ANNOTATION_REFRESH),
        "invalid": happen.spec(sequenceLength=1),
        "makes one version": happen.makes(worlds.VERSION_1),
        "makes another version": happen.makes(worlds.VERSION_2),
        "one version is kept": happen.spec(keepVersions=1),
        "looked at every hour": happen.spec(refreshSeconds=3600),
        "looked at when asked": happen.spec(refreshSeconds=0),
        "an old version is in use": happen.in_use(worlds.VERSION_1),
        "no version is in use": happen.in_use(),
    },
    Kind.TRAINING_JOB: {
        **JOB_FATES,
        **REFERENCE_FATES,
        "dataset missing": happen.without(Kind.DATASET, "corpus"),
        "dataset unready": happen.unready(Kind.DATASET, "corpus"),
        "newer version": happen.newer_version,
        "misses its gate": happen.end("Succeeded", **happen.says(worlds.trained(passed=False))),
        "suspended": happen.spec(suspend=True),
        "resumed": happen.spec(suspend=False),
        "no more retries": happen.spec(backoffLimit=0),
        "one node": happen.placed(1),
        "three nodes": happen.placed(3),
        "all nodes": happen.placed(99),
        "budget raised": happen.spec(budget={"acceleratorHours": 0.05}),
        "trainers begin": happen.begin,
        "trainers are killed": happen.die,
        "hangs": happen.end_of_pods({"phase": "Failed", **HUNG}),
        "a node is lost": happen.end_of_pods({"phase": "Failed", **LEFT}, {"phase": "Running"}),
        "its pods go at once": happen.spec(podsTTLSeconds=0),
        "its pods go in a minute": happen.spec(podsTTLSeconds=60),
        "fewer nodes wanted": happen.spec(nodes={"min": 1, "max": 2}),
    },
    Kind.DEPLOYMENT: {
        **REFERENCE_FATES,
        **ROLLOUT_FATES,
        "job missing": happen.without(Kind.TRAINING_JOB, "train"),
        "job unready": happen.unready(Kind.TRAINING_JOB, "train"),
        "one request": happen.decided(1, "1 waits"),
        "no samples": happen.decided(3, "no samples: holding", holding=True),
        "a new operator": happen.undecided,
        "by load": happen.spec(scaling={"minReplicas": 1, "maxReplicas": 4}),
        "replicas work": happen.work,
        "replica starts": happen.replica(),
        "replica out of memory": happen.replica(**worlds.ended(137, "OOMKilled")),
        "pods refused": happen.refuse_pods,
        "by hand": happen.spec(replicas=3, scaling={"mode": "External"}),
        "by selector": happen.spec(
            model={"trainingJob": {"selector": {"matchLabels": {"app": "a"}}}}
        ),
        "from a store": happen.spec(model={"store": {"name": "work", "path": "models/b/"}}),
        "egress ready": happen.egress_ready,
        "with a fallback": happen.spec(fallback={"external": EXTERNAL, "when": ["failure"]}),
        "without a fallback": happen.replace("fallback"),
        "of somebody else": happen.replace("model", external=EXTERNAL),
        "its own again": happen.replace("external", **worlds.DEPLOYMENT_SPEC),
        "deleted": happen.remove,
        "invalid": happen.spec(engine={"name": "unheard-of"}),
    },
    Kind.ACCESS_KEY: {
        "disabled": happen.spec(disabled=True),
        "enabled": happen.spec(disabled=False),
        "expires at noon": happen.spec(expiresAt=timestamp(worlds.NOW)),
        "expires in an hour": happen.spec(expiresAt=timestamp(worlds.at(3600))),
        "expires in a year": happen.spec(expiresAt=timestamp(worlds.at(31536000))),
        "limited": happen.spec(limits={"requestsPerMinute": 60, "tokensPerDay": 50000}),
        "limited to tokens": happen.spec(limits={"tokensPerMinute": 2000}),
        "not limited": happen.spec(limits={}),
        "a is used": happen.spend("a", 5, 900),
        "b is used": happen.spend("b", 1, 100),
        "requests wait at a": happen.spend("a", 30, 3000, wanted=90),
        "no gateway is heard": happen.unheard,
        "for one deployment": happen.spec(deployments={"names": ["wiki"]}),
        "for a team's": happen.spec(deployments={"selector": {"matchLabels": {"team": "a"}}}),
        "deleted": happen.remove,
        "invalid": happen.spec(sha256="no digest"),
    },
}
