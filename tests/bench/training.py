"""`make bench-training`: what training reaches and what it costs; one JSON line per figure.

Parts: `methods`, every method and task on real labels beside what others reach; `overhead`, equal
steps beside transformers' Trainer alone, which wants a quiet machine; `checkpoints`, how long the
step loop waits for them.
"""

import argparse
import tempfile
from pathlib import Path

from llmcloud.api.contract import ProvisionTask
from llmcloud.cloud.provision import provision
from tests.bench.methods import measure_methods
from tests.bench.overhead import Bench, measure_checkpoints, measure_overhead
from tests.contract.servers import versitygw
from tests.support.figures import LINES
from tests.support.ranks import runtime_image

PARTS = ("methods", "overhead", "checkpoints")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench.training", description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the methods")
    add("--scores", type=Path, help="kept; a score that is in it is not measured again")
    add("--pairs", type=int, default=8, help="of the overhead")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with (
        tempfile.TemporaryDirectory() as folder,
        versitygw(Path(folder) / "server") as server,
        runtime_image() as runtime,
    ):
        location = server.location("training")
        assert provision(ProvisionTask(store=location, create=True, owner_uid="uid")).succeeded
        if "methods" in options.parts:
            scores = options.scores or Path(folder) / "scores"
            measure_methods(runtime, location, options.seeds, scores)
        if {"overhead", "checkpoints"} & set(options.parts):
            bench = Bench(runtime, location)
            if "overhead" in options.parts:
                measure_overhead(bench, options.pairs)
            if "checkpoints" in options.parts:
                measure_checkpoints(bench)
    print("\n".join(LINES))


if __name__ == "__main__":
    main()
