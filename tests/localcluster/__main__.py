"""python3 -m tests.localcluster build | images | up | down | status | kubeconfig."""

import argparse
import json
import sys
from collections.abc import Sequence

from tests.localcluster.cluster import Cluster
from tests.localcluster.image_build import ALL, build_images, chart_values
from tests.localcluster.node import PROGRAMS
from tests.localcluster.packages import ensure_programs
from tests.localcluster.paths import exit_status
from tests.localcluster.tools import TOOLS, ensure_tool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="python3 -m tests.localcluster", description="A real Kubernetes on one machine."
    )
    commands = root.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="install packages and build tools (all, or TOOL)")
    build.add_argument("tools", nargs="*", metavar="TOOL")
    images = commands.add_parser(
        "images", help="build and push the images (all, or IMAGE); the chart's values"
    )
    images.add_argument("images", nargs="*", metavar="IMAGE")
    up = commands.add_parser("up", help="start the cluster and wait until it is ready")
    shape = up.add_mutually_exclusive_group()
    shape.add_argument("--nodes", type=int, choices=(1, 2), help="those it has, else 1")
    shape.add_argument("--api-only", action="store_true", help="no nodes; needs no root")
    down = commands.add_parser("down", help="stop the cluster and remove all it left")
    down.add_argument("--keep-data", action="store_true", help="keep etcd's data and the images")
    status = commands.add_parser("status", help="list the components; exit 1 if one is not ready")
    kubeconfig = commands.add_parser("kubeconfig", help="print the path of the kubeconfig")
    for command in (up, down, status, kubeconfig):
        command.add_argument("--name", default="llmcloud")
    return root


def status(cluster: Cluster) -> int:
    """Print the table of components; 0 if all are ready, else 1."""
    components = cluster.status()
    if not components:
        print(f"cluster {cluster.name} is down")
        return 1
    print(f"{'COMPONENT':<24} {'PID':>8}  {'READY':<5}  VERSION")
    for component in components:
        ready = "yes" if component.ready else "no"
        pid = "-" if component.pid is None else str(component.pid)
        print(f"{component.name:<24} {pid:>8}  {ready:<5}  {component.version}")
    return 0 if all(component.ready for component in components) else 1


def run(arguments: argparse.Namespace) -> int:
    """Carry out one command; its exit status."""
    if arguments.command == "build":
        if not arguments.tools:
            ensure_programs(PROGRAMS)
        for tool in arguments.tools or TOOLS:
            print(ensure_tool(tool))
        return 0
    if arguments.command == "images":
        print(json.dumps(chart_values(build_images(arguments.images or ALL)), indent=2))
        return 0
    cluster = Cluster(arguments.name)
    if arguments.command == "up":
        cluster.up(nodes=arguments.nodes, api_only=arguments.api_only)
        print(f"export KUBECONFIG={cluster.kubeconfig}")
    elif arguments.command == "down":
        cluster.down(keep_data=arguments.keep_data)
    elif arguments.command == "status":
        return status(cluster)
    else:
        print(cluster.kubeconfig)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; a sentence on standard error and 1 if it cannot be done."""
    arguments = parser().parse_args(words)
    return exit_status(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
