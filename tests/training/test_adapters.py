"""What a training job makes by LoRA is served beside its base, and changes while that serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcloud.api.adapter import WantedAdapter
from llmcloud.api.contract import DatasetInput, StoreLocation
from llmcloud.api.model import Lora
from tests.support.ranks import VERSION, Runtime
from tests.support.serving import Served, engine, likeliest
from tests.support.trainer import Trainer, architecture

PROMPTS = ["t3", "t77", "t140", "t201"]


@pytest.fixture(scope="module")
def served(
    runtime: Runtime, location: StoreLocation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A base, and below adapters/0/ and adapters/1/ two adapters of it."""
    trainer = Trainer(runtime, location)
    data = DatasetInput(store=location, path="data/", name="data", version=VERSION)
    base = trainer.run(trainer.task("base", architecture("llama"), data, max_steps=20))
    for seed in (0, 1):
        task = trainer.task(
            f"adapters/{seed}",
            base.model,
            data,
            method="lora",
            lora=Lora(rank=4),
            max_steps=20,
            seed=seed,
            learning_rate=0.02,
        )
        trained = trainer.run(task).outcome.training
        assert trained is not None
        assert trained.model_kind == "adapter"
    folder: Path = tmp_path_factory.mktemp("served") / "models"
    with engine(runtime, location, "base/", folder) as served:
        yield served


def wanted(location: StoreLocation, name: str, number: int) -> WantedAdapter:
    return WantedAdapter(name=name, store=location, path=f"adapters/{number}/")


def test_adapters_answer_beside_their_base_and_change_while_it_serves(
    served: Served, location: StoreLocation
) -> None:
    base = likeliest(served, "wiki", PROMPTS)
    assert served.complete("wiki:team", PROMPTS[0])[0] == 404

    served.tell(wanted(location, "team", 0))
    assert served.sidecar.adapters.loaded.keys() == {"team"}
    first = likeliest(served, "wiki:team", PROMPTS)
    assert first != base
    assert likeliest(served, "wiki", PROMPTS) == base, "the base has no adapter"

    served.tell(wanted(location, "team", 1), wanted(location, "a.b", 0))
    second = likeliest(served, "wiki:team", PROMPTS)
    assert second != first
    assert likeliest(served, "wiki:a.b", PROMPTS) == first
    assert likeliest(served, "wiki:team", PROMPTS) == second
    assert likeliest(served, "wiki", PROMPTS) == base

    served.tell(wanted(location, "a.b", 0))
    assert served.complete("wiki:team", PROMPTS[0])[0] == 404
    assert likeliest(served, "wiki:a.b", PROMPTS) == first
    served.tell()
    assert likeliest(served, "wiki", PROMPTS) == base


def test_what_is_no_adapter_of_the_model_is_refused_and_changes_nothing(
    served: Served, location: StoreLocation
) -> None:
    base = likeliest(served, "wiki", PROMPTS)
    served.tell(WantedAdapter(name="no", store=location, path="base/"))
    assert "There is no adapter in" in served.sidecar.adapters.failed["no"]
    assert served.complete("wiki:no", PROMPTS[0])[0] == 404
    assert likeliest(served, "wiki", PROMPTS) == base
    served.tell()
