"""The operator against a real API server: what it waits for, retries, heals and gives up."""

from functools import partial

from llmcloud.api.contract import Outcome, Retry
from llmcloud.api.names import Reason
from tests.localcluster.cluster import Cluster
from tests.support.kube import Kube, condition
from tests.support.kubelet import bind_pod, end_all, end_pod, good_outcome, run_pod
from tests.support.objects import changed, dataset, deployment, store, training_job
from tests.support.operator import OperatorProcess
from tests.support.played import pod_of, prepare, provision, ready
from tests.support.waiting import wait_for
from tests.support.worlds import MODEL_DIGEST, refusal, trained


def test_a_job_waits_for_dataset_and_store_and_goes_on_when_they_come(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(training_job(namespace))
    missing = ready(kube, "LLMTrainingJob", namespace, "train", "DatasetNotFound")
    assert "create it" in condition(missing)["message"]
    kube.apply(dataset(namespace))
    ready(kube, "LLMDataset", namespace, "text", "StoreNotFound")
    ready(kube, "LLMTrainingJob", namespace, "train", "DatasetNotReady")
    provision(kube, namespace)
    pod = pod_of(kube, namespace, "text-data-a1")
    end_pod(kube, pod, good_outcome(pod))
    prepared = ready(kube, "LLMDataset", namespace, "text", "Prepared")
    version = prepared["status"]["version"]
    started = ready(kube, "LLMTrainingJob", namespace, "train", "Starting")
    assert started["status"]["inputs"]["datasets"] == [{"name": "text", "version": version}]
    assert pod_of(kube, namespace, "train-train-a1")


def test_an_accelerator_is_looked_for_among_the_nodes(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    job = training_job(namespace, resources={"accelerator": "nvidia-h100", "count": 8})
    kube.apply(job)
    missing = ready(kube, "LLMTrainingJob", namespace, "train", "AcceleratorNotFound")
    assert "Add such a node" in condition(missing)["message"]
    labels = {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu", "labels": labels}}
    kube.apply(node)
    ready(kube, "LLMTrainingJob", namespace, "train", "Starting", 90)
    (term,) = pod_of(kube, namespace, "train-train-a1")["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["key"] == "cloud.google.com/gke-accelerator"
    kube.delete("Node", "", "gpu")


def test_a_replica_of_several_nodes_has_a_pod_of_each_rank_until_it_has_one_node(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    provision(kube, namespace)
    labels = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "l4", "labels": labels}}
    kube.apply(node)
    spread = deployment(
        namespace,
        name="large",
        model={"store": {"name": "work", "path": "model/"}},
        resources={"accelerator": "nvidia-l4", "count": 2},
        nodes={"min": 2, "max": 2},
        scaling={"mode": "External"},
        replicas=2,
    )
    kube.apply(spread)
    labels_of = "app.kubernetes.io/instance=large"
    pods = wait_for(
        "two pods of each rank",
        lambda: kube.list("Pod", namespace, labels_of),
        lambda found: len(found) == 4,
        90,  # an accelerator is looked for once a minute
    )
    ranks = [pod["metadata"]["labels"]["llmcloud.dev/rank"] for pod in pods]
    indexes = [pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] for pod in pods]
    assert sorted(zip(ranks, indexes, strict=True)) == [
        ("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"),
    ]  # fmt: skip
    found = ready(kube, "LLMDeployment", namespace, "large", "ReplicasNotReady")
    assert (found["status"]["nodes"], found["status"]["desiredReplicas"]) == (2, 2)
    kube.apply(changed(changed(spread, "nodes", None), "replicas", 0))
    wait_for("no StatefulSets", lambda: kube.list("StatefulSet", namespace), lambda s: not s, 20)
    wait_for(
        "one node",
        lambda: kube.get("LLMDeployment", namespace, "large"),
        lambda o: o is not None and "nodes" not in o["status"],
        20,
    )
    assert len(kube.list("Deployment", namespace)) == 1
    kube.delete("Node", "", "l4")


def test_a_failed_attempt_is_followed_by_the_next_until_the_backoff_limit(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    provision(kube, namespace)
    kube.apply(dataset(namespace))
    pod = pod_of(kube, namespace, "text-data-a1")
    end_pod(kube, pod, good_outcome(pod))
    kube.apply(training_job(namespace, backoffLimit=1))
    end_pod(kube, pod_of(kube, namespace, "train-train-a1"), "Traceback: boom", exit_code=1)
    ready(kube, "LLMTrainingJob", namespace, "train", "Crashed")
    end_pod(kube, pod_of(kube, namespace, "train-train-a2"), "Traceback: boom", exit_code=1)
    failed = ready(kube, "LLMTrainingJob", namespace, "train", "BackoffLimitExceeded")
    assert condition(failed, "Failed")["status"] == "True"
    assert failed["status"]["failures"] == 2
    assert [
        j["metadata"]["name"]
        for j in kube.list("Job", namespace)
        if "train" in j["metadata"]["name"]
    ] == ["train-train-a2"]


def test_a_wrong_key_is_told_and_tried_again(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(store(namespace))
    refused = Outcome(
        succeeded=False,
        reason=Reason.CREDENTIALS_REFUSED,
        message="The store refuses the key of Secret keys: correct it",
        retry=Retry.ENVIRONMENT,
    )
    end_pod(kube, pod_of(kube, namespace, "work-store-a1"), refused, exit_code=1)
    told = ready(kube, "ObjectStore", namespace, "work", "CredentialsRefused")
    assert "correct it" in condition(told)["message"]
    pod = pod_of(kube, namespace, "work-store-a2")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "ObjectStore", namespace, "work", "Provisioned")


def test_a_quota_that_forbids_pods_is_told_in_its_own_words(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    quota = {"hard": {"pods": "0"}}
    meta = {"name": "none", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": quota})
    kube.apply(store(namespace))
    told = ready(kube, "ObjectStore", namespace, "work", "PodRefused")
    assert "exceeded quota: none" in condition(told)["message"]
    kube.delete("ResourceQuota", namespace, "none")
    pod = pod_of(kube, namespace, "work-store-a1")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "ObjectStore", namespace, "work", "Provisioned")


def test_a_quota_that_forbids_the_pods_of_a_replica_of_several_nodes_is_told(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    provision(kube, namespace)
    labels = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "l4-quota", "labels": labels}}
    kube.apply(node)
    meta = {"name": "none", "namespace": namespace}
    quota = {"hard": {"pods": "0"}}
    kube.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": quota})
    kube.apply(
        deployment(
            namespace,
            name="refused",
            model={"store": {"name": "work", "path": "model/"}},
            resources={"accelerator": "nvidia-l4", "count": 2},
            nodes={"min": 2, "max": 2},
            scaling={"mode": "External"},
            replicas=1,
        )
    )
    told = ready(kube, "LLMDeployment", namespace, "refused", "PodRefused", 90)
    assert "exceeded quota: none" in condition(told)["message"]
    kube.delete("ResourceQuota", namespace, "none")
    # The StatefulSet's controller tries again at intervals that grow.
    ready(kube, "LLMDeployment", namespace, "refused", "ReplicasNotReady", 90)
    kube.delete("Node", "", "l4-quota")


def test_a_suspended_job_has_no_pods_and_resumes_as_a_new_attempt(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(training_job(namespace, suspend=True))
    suspended = ready(kube, "LLMTrainingJob", namespace, "train", "Suspended")
    assert condition(suspended, "Suspended")["status"] == "True"
    assert kube.list("Job", namespace) == []
    kube.apply(training_job(namespace, suspend=False))
    ready(kube, "LLMTrainingJob", namespace, "train", "DatasetNotFound")


def test_a_queue_of_a_cluster_without_kueue_is_told(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    kube.apply(training_job(namespace, queue="gpu"))
    told = condition(ready(kube, "LLMTrainingJob", namespace, "train", "Queued"))["message"]
    assert told.startswith("Attempt 1 waits in queue gpu: this cluster has no Kueue")
    assert kube.list("Pod", namespace, "app.kubernetes.io/component=train") == []


def test_an_attempt_that_hung_is_followed_by_one_on_another_node(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    kube.apply(training_job(namespace))
    pod = pod_of(kube, namespace, "train-train-a1")
    bind_pod(kube, pod, "stuck")
    end_pod(kube, pod, refusal(Reason.HUNG, Retry.ENVIRONMENT), 1)
    affinity = pod_of(kube, namespace, "train-train-a2")["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    other = {"key": "metadata.name", "operator": "NotIn", "values": ["stuck"]}
    assert term["matchFields"] == [other]


def test_of_two_jobs_with_one_output_the_later_waits_until_the_first_is_gone(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    output = {"store": {"name": "work", "path": "shared/"}}
    kube.apply(training_job(namespace, "first", output=output))
    ready(kube, "LLMTrainingJob", namespace, "first", "Starting")
    kube.apply(training_job(namespace, "second", output=output, backoffLimit=1))
    refused = ready(kube, "LLMTrainingJob", namespace, "second", "OutputOccupied")
    assert condition(refused, "Stalled")["status"] == "True"
    assert "LLMTrainingJob first" in condition(refused)["message"]
    assert kube.list("Pod", namespace, "batch.kubernetes.io/job-name=second-train-a1") == []
    kube.delete("LLMTrainingJob", namespace, "first")
    assert pod_of(kube, namespace, "second-train-a1")


def test_a_budget_that_is_spent_stops_the_pods_until_it_is_raised(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    labels = {"nvidia.com/gpu.product": "Tesla-T4"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "t4", "labels": labels}}
    kube.apply(node)
    resources = {"accelerator": "nvidia-t4", "count": 8}
    job = training_job(namespace, resources=resources, budget={"acceleratorHours": 4})
    kube.apply(job)
    pod = wait_for(
        "the pod",
        lambda: kube.list("Pod", namespace, "app.kubernetes.io/component=train"),
        bool,
        90,
    )[0]
    run_pod(kube, pod, 3600)
    spent = ready(kube, "LLMTrainingJob", namespace, "train", "BudgetSpent", 40)
    assert spent["metadata"]["generation"] == 1, "the operator writes no specification"
    assert spent["status"]["goodput"]["acceleratorHours"] >= 4
    wait_for(
        "it is suspended",
        lambda: condition(kube.get("LLMTrainingJob", namespace, "train"), "Suspended"),
        lambda told: told.get("status") == "True",
        40,
    )
    jobs = "app.kubernetes.io/component=train"
    wait_for("no Job", lambda: kube.list("Job", namespace, jobs), lambda found: not found, 20)
    kube.apply(changed(job, "budget.acceleratorHours", 100))
    again = ready(kube, "LLMTrainingJob", namespace, "train", "Starting", 40)
    assert again["status"]["attempt"] == 2
    assert condition(again, "Suspended")["status"] == "False"
    kube.delete("Node", "", "t4")


def test_what_a_pod_said_at_its_end_is_told_though_no_operator_was_there(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    kube.apply(training_job(namespace, evaluation={"metrics": [{"name": "perplexity"}]}))
    pod = pod_of(kube, namespace, "train-train-a1")
    operator.kill()
    try:
        end_pod(kube, pod, trained())
    finally:
        operator.start()
    done = ready(kube, "LLMTrainingJob", namespace, "train", "Succeeded", 60)
    status = done["status"]
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1)
    assert status["model"]["digest"] == MODEL_DIGEST
    assert status["evaluation"]["metrics"][0]["value"] == 12.5
    assert status["progress"]["loss"] == 3.5
    assert status["checkpoint"]["step"] == 40
    assert status["goodput"]["productiveSeconds"] == 60


def test_the_pods_of_a_job_that_has_ended_go_and_its_result_stays(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    prepare(kube, namespace)
    kube.apply(training_job(namespace, podsTTLSeconds=3))
    end_pod(kube, pod_of(kube, namespace, "train-train-a1"), trained())
    ended = ready(kube, "LLMTrainingJob", namespace, "train", "Succeeded")
    labels = "llmcloud.dev/owner-name=train"
    for kind in ("Job", "Pod"):
        found = partial(kube.list, kind, namespace, labels)
        wait_for(f"no {kind}", found, lambda left: not left, 30)
    later = kube.get("LLMTrainingJob", namespace, "train")
    assert later is not None
    assert later["status"] == ended["status"]
    assert kube.list("Job", namespace, labels) == []


def test_the_first_of_two_deployments_has_the_served_name(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    provision(kube, namespace)
    model = {"store": {"name": "work", "path": "model/"}}
    kube.apply(deployment(namespace, name="first", model=model, servedModelName="contested"))
    ready(kube, "LLMDeployment", namespace, "first", "ScaledToZero")
    kube.apply(deployment(namespace, name="second", model=model, servedModelName="contested"))
    conflict = ready(kube, "LLMDeployment", namespace, "second", "RouteConflict")
    assert f"{namespace}/first" in condition(conflict)["message"]
    kube.delete("LLMDeployment", namespace, "first")
    ready(kube, "LLMDeployment", namespace, "second", "ScaledToZero", seconds=40)


def test_deleting_an_owner_deletes_its_children(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(store(namespace))
    pod_of(kube, namespace, "work-store-a1")
    kube.delete("ObjectStore", namespace, "work")
    wait_for("no Jobs", lambda: kube.list("Job", namespace), lambda jobs: not jobs, 30)
    assert kube.get("ObjectStore", namespace, "work") is None


def test_a_bucket_to_delete_holds_the_object_until_its_cleanup_has_run(
    kube: Kube, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(store(namespace, reclaimPolicy="Delete"))
    pod = pod_of(kube, namespace, "work-store-a1")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "ObjectStore", namespace, "work", "Provisioned")
    kube.delete("ObjectStore", namespace, "work")
    ready(kube, "ObjectStore", namespace, "work", "Deleting")
    cleanup = pod_of(kube, namespace, "work-store-a2")
    end_pod(kube, cleanup, Outcome(succeeded=True, reason=Reason.SUCCEEDED))
    wait_for(
        "it is gone", lambda: kube.get("ObjectStore", namespace, "work"), lambda o: o is None, 20
    )


def test_events_tell_transitions(kube: Kube, operator: OperatorProcess, namespace: str) -> None:
    provision(kube, namespace)
    reasons = [
        event["reason"]
        for event in kube.list("Event", namespace)
        if event["involvedObject"]["kind"] == "ObjectStore"
    ]
    assert sorted(reasons) == ["Provisioned", "Starting"]
    assert end_all(kube, namespace) == 0


def test_a_namespace_that_goes_is_not_held_by_a_bucket_to_delete(
    kube: Kube, api_cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    kube.apply(store(namespace, reclaimPolicy="Delete"))
    pod = pod_of(kube, namespace, "work-store-a1")
    end_pod(kube, pod, good_outcome(pod))
    ready(kube, "ObjectStore", namespace, "work", "Provisioned")
    api_cluster.kubectl("delete", "namespace", namespace, "--timeout=60s")
