"""Training goes on exactly where it was, with any number of ranks, and notices who is gone."""

import json
import random
import signal
from collections.abc import Callable

import pytest

from llmcloud.api.contract import ExitCode
from llmcloud.api.names import Reason
from tests.support.ranks import LENGTH, Training, send

Job = Callable[..., Training]
SEEDS = 10
"""Of the whole matrix."""


def furthest(ours: dict[int, float], theirs: dict[int, float]) -> float:
    """The largest difference of the losses at a step."""
    assert ours.keys() == theirs.keys()
    return max(abs(loss - theirs[step]) for step, loss in ours.items())


def first_rows(training: Training, key: str) -> list[int]:
    """Where the tensors of a file of the last checkpoint begin in the whole ones, if not at 0."""
    path = f"{training.name}/{training.past().checkpoints[0].path}{key}"
    data = training.store.get(path)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]
    [told] = [json.loads(text) for name, text in header.items() if name != "format"]
    return [place["saved_offsets"][0] for place in told.values() if any(place["saved_offsets"])]


def seeds(config: pytest.Config) -> range:
    return range(SEEDS if config.getoption("--soak") else 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One seed of ten, all with --soak."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config))


def test_one_rank_that_is_killed_goes_on_to_the_last_bit(
    job: Job, undisturbed: dict[int, float], seed: int
) -> None:
    training = job(f"killed-{seed}")
    drawn = random.Random(seed)
    rank = training.start(1)
    durable = training.await_checkpoint(rank, drawn.randrange(1, 19))
    send(rank, signal.SIGKILL)
    training.finish(rank)
    assert training.past().checkpoints[0].step >= durable
    training.run(2)
    assert training.losses() == undisturbed


def test_from_two_ranks_to_one_and_back(job: Job, undisturbed: dict[int, float], seed: int) -> None:
    """The global batch and the order of the samples are the same at any size; and of two ranks
    one is asked to stop, or killed."""
    training = job(f"elastic-{seed}")
    drawn = random.Random(seed)
    pair = training.start(1, ranks=2)
    training.await_checkpoint(pair, 6)
    asked = drawn.choice([0, 1])
    send(pair[asked : asked + 1], signal.SIGTERM)
    assert training.finish(pair) == [ExitCode.INTERRUPTED] * 2
    assert [rank.outcome().reason for rank in pair] == [Reason.PREEMPTED] * 2

    alone = training.start(2)
    training.await_checkpoint(alone, 12)
    send(alone, signal.SIGTERM)
    assert training.finish(alone) == [ExitCode.INTERRUPTED]

    training.run(3, ranks=2)
    assert furthest(training.losses(), undisturbed) < 1e-3


def test_sharded_ranks_learn_what_one_learns_and_read_its_checkpoints(
    job: Job, undisturbed: dict[int, float]
) -> None:
    training = job("sharded", sharded=True)
    pair = training.start(1, ranks=2)
    training.await_checkpoint(pair, 6)
    send(pair, signal.SIGTERM)
    assert training.finish(pair) == [ExitCode.INTERRUPTED] * 2
    second = [file for file in training.past().checkpoints[0].files if "00002-" in file.key]
    assert second, "the second rank wrote nothing"
    assert any(first_rows(training, file.key) for file in second), "nothing begins in mid-tensor"

    alone = training.start(2)
    training.await_checkpoint(alone, 12)
    send(alone, signal.SIGTERM)
    assert training.finish(alone) == [ExitCode.INTERRUPTED]

    ended = training.run(3, ranks=2)
    assert furthest(training.losses(), undisturbed) < 1e-5
    assert ended.training is not None
    assert ended.training.steps == 24


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_the_model_of_sharded_ranks_is_that_of_one(job: Job, family: str) -> None:
    """Of families with tied weights."""
    sizes = {"hidden_size": 32, "layers": 2, "heads": 2, "context_length": LENGTH}
    members = {
        "model": {"architecture": {"family": family, **sizes}},
        "task": "masked-lm" if family == "bert" else "causal-lm",
        "metrics": [{"name": "perplexity"}],
        "max_steps": 6,
    }
    alone = job(f"{family}-alone", **members).run(1).training
    sharded = job(f"{family}-sharded", sharded=True, **members).run(1, ranks=2).training
    assert alone is not None
    assert sharded is not None
    assert sharded.metrics[0].value == pytest.approx(alone.metrics[0].value, rel=1e-4)


def test_two_ranks_of_which_one_is_killed_go_on_as_if_nothing_had_been(
    job: Job, undisturbed: dict[int, float], seed: int
) -> None:
    training = job(f"pair-{seed}")
    drawn = random.Random(seed)
    pair = training.start(1, ranks=2)
    training.await_checkpoint(pair, drawn.randrange(1, 13))
    killed = drawn.choice([0, 1])
    send(pair[killed : killed + 1], signal.SIGKILL)
    codes = training.finish(pair, 60)
    assert codes[killed] == -signal.SIGKILL
    assert pair[1 - killed].outcome().reason is Reason.PEER_LOST
    training.run(2, ranks=2)
    resumed = training.losses()

    other = job(f"pair-undisturbed-{seed}")
    other.run(1, ranks=2)
    assert furthest(resumed, other.losses()) < 1e-6
    assert furthest(resumed, undisturbed) < 1e-3


def test_two_accelerators_of_a_pod_do_what_two_pods_with_one_do(job: Job) -> None:
    """One process of the pod starts both ranks and passes SIGTERM on; one says how it ended."""
    pods = job("two-pods")
    pods.run(1, ranks=2)

    training = job("one-pod", nodes=1, processes=2, leader="")
    pod = training.start(1)
    training.await_checkpoint(pod, 6)
    send(pod, signal.SIGTERM)
    assert training.finish(pod) == [ExitCode.INTERRUPTED]
    assert pod[0].outcome().reason is Reason.PREEMPTED
    result = training.run(2).training
    assert result is not None
    assert result.steps == 24
    assert furthest(training.losses(), pods.losses()) < 1e-6


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_rank_that_falls_silent_is_noticed(job: Job, frozen: int) -> None:
    """A node that is cut off closes no connection."""
    training = job(f"silent-{frozen}", max_steps=100000, checkpoint_every_steps=6)
    pair = training.start(1, ranks=2)
    training.await_checkpoint(pair, 6)
    other = pair[1 - frozen]
    try:
        send([pair[frozen]], signal.SIGSTOP)
        assert training.finish([other], 60) == [ExitCode.FAILED]
        assert other.outcome().reason is Reason.PEER_LOST
    finally:
        send([pair[frozen]], signal.SIGKILL)
        pair[frozen].process.wait()


def test_a_corrupt_checkpoint_is_left_for_the_one_before(
    job: Job, undisturbed: dict[int, float]
) -> None:
    training = job("corrupt")
    rank = training.start(1)
    training.await_checkpoint(rank, 12)
    send(rank, signal.SIGKILL)
    training.finish(rank)
    newest = training.past().checkpoints[0]
    shard = next(entry for entry in newest.files if entry.key.endswith(".safetensors"))
    path = f"{training.name}/{newest.path}{shard.key}"
    training.store.put(path, b"\0" * shard.bytes)
    again = training.start(2)
    assert training.finish(again) == [ExitCode.OK]
    assert f"Checkpoint of step {newest.step} is left aside" in again[0].log.read_text()
    told = again[0].outcome().progress
    assert told is not None
    assert f"left aside: {newest.step}; training goes on from" in str(told.note)
    assert training.losses() == undisturbed
