"""`make demo`: a cluster, images, helm install, then text to an answer, with what each took.

Everything is done by custom resources and can be read afterwards with kubectl. Running it
again goes on from what is there.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openai import OpenAI

from tests.localcluster.paths import LocalClusterError, exit_status
from tests.support.given import NAMESPACE, ensure_cluster
from tests.support.install import (
    apply_quickstart,
    ensure_images,
    expose_gateway,
    helm_install,
    require_port,
)
from tests.support.kube import Kube, Object, condition

PROMPT = "def read_lines(path):\n"
WAIT_SECONDS = 1500.0
LEARNED_RATIO = 0.5
"""Of the model's held-out perplexity to the unigram's: at most this is learning."""

_took: list[tuple[str, float]] = []


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and remember what it took."""
    print(f"\n== {title}", flush=True)
    started = time.monotonic()
    yield
    _took.append((title, time.monotonic() - started))


def follow(
    kube: Kube, kind: str, name: str, done: Callable[[Object], bool], line: Callable[[Object], str]
) -> Object:
    """Print each new line of an object's status until it is done.

    Raises LocalClusterError if it is stuck.
    """
    shown = ""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        owner = kube.get(kind, "quickstart", name) or {}
        said = line(owner)
        if said != shown:
            print(f"   {kind} {name}: {said}", flush=True)
            shown = said
        if done(owner):
            return owner
        if condition(owner, "Stalled").get("status") == "True" or time.monotonic() > deadline:
            message = condition(owner).get("message")
            raise LocalClusterError(f"{kind} {name} does not go on: {message}")
        time.sleep(1)


def _said(owner: Object) -> str:
    ready = condition(owner)
    return f"{ready.get('reason', '')}: {ready.get('message', '')}"


def _dataset_line(owner: Object) -> str:
    status = owner.get("status", {})
    if "documents" in status and condition(owner).get("status") == "True":
        return f"{status['documents']} documents, {status['tokens']} tokens"
    percent = status.get("progress", {}).get("percent")
    return _said(owner) + (f" ({percent} %)" if percent is not None else "")


def _training_line(owner: Object) -> str:
    progress = owner.get("status", {}).get("progress", {})
    if not progress:
        return _said(owner)
    loss = f", loss {progress['loss']:.2f}" if "loss" in progress else ""
    eta = f", {progress['etaSeconds']} s left" if "etaSeconds" in progress else ""
    phase = owner["status"]["phase"]
    return f"{phase}: step {progress['step']}/{progress['totalSteps']}{loss}{eta}"


def is_ready(owner: Object) -> bool:
    """Whether Ready holds."""
    return condition(owner).get("status") == "True"


def perplexities(job: Object) -> str:
    """The model's held-out perplexity beside the baselines'.

    Raises LocalClusterError if it has not learned.
    """
    evaluation = job["status"]["evaluation"]
    values = {m["name"]: m["value"] for m in [*evaluation["metrics"], *evaluation["baselines"]]}
    model, unigram = values["perplexity"], values["unigramPerplexity"]
    figures = (
        f"held-out perplexity {model:.1f}; unigram {unigram:.1f}, interpolated bigram "
        f"{values['bigramPerplexity']:.1f}; ratio to unigram {model / unigram:.2f}"
    )
    if not model <= LEARNED_RATIO * unigram:
        raise LocalClusterError(
            f"the model has not learned, which takes a ratio of at most {LEARNED_RATIO}: {figures}"
        )
    return f"{figures}: it has learned"


def stream_answer(url: str) -> None:
    """Print a streamed completion token by token."""
    client = OpenAI(base_url=f"{url}/v1", api_key="anonymous")
    print(PROMPT, end="", flush=True)
    for chunk in client.completions.create(
        model="stdlib", prompt=PROMPT, max_tokens=48, stream=True, temperature=0.0
    ):
        print(chunk.choices[0].text if chunk.choices else "", end="", flush=True)
    print()


def main() -> int:
    """The whole path."""
    started = time.monotonic()
    port = int(os.environ.get("PORT") or 8080)
    with step("cluster"):
        cluster = ensure_cluster()
        require_port(cluster, port)
    kube = Kube(cluster.kubeconfig)
    with step("images"):
        images = ensure_images()
    with step("helm install"):
        helm_install(cluster, images)
    with step("kubectl apply -f examples/quickstart.yaml"):
        apply_quickstart(cluster, kube)
    with step("store and dataset"):
        for name in ("samples", "work"):
            follow(kube, "ObjectStore", name, is_ready, _said)
        follow(kube, "LLMDataset", "stdlib", is_ready, _dataset_line)
    with step("training and evaluation"):
        job = follow(kube, "LLMTrainingJob", "stdlib", is_ready, _training_line)
        print(f"   {perplexities(job)}")
    with step("deployment, from zero: the first request waits for a replica"):
        follow(kube, "LLMDeployment", "stdlib", is_ready, _said)
        url = expose_gateway(cluster, port)
        stream_answer(url)
    print("\nwhat each step took")
    for title, seconds in _took:
        print(f"   {seconds:7.1f} s  {title}")
    print(f"   {time.monotonic() - started:7.1f} s  in all")
    print(f"\nThe gateway answers on {url}/v1; `export KUBECONFIG=$(make -s kubeconfig)` and")
    print(f"`kubectl get llm -A` show the objects; operator and gateway run in {NAMESPACE}.")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
