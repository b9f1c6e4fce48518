"""One network namespace per cluster, wired to the machine by a veth pair.

Everything a cluster does to a network (bridges, nft rules of kube-proxy, routes, sysctls) happens
inside its namespace: clusters never meet, and deleting the namespace clears it all. The machine
routes the cluster's whole range into it, so pods and Services are reachable from the machine.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from tests.localcluster.layout import Layout

NAMESPACES = Path("/run/netns")

MASQUERADE = """\
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {range} ip daddr != {range} oifname != "{link}" masquerade
  }}
}}
"""


def run(*command: str, text: str | None = None) -> str:
    """Run a command to its end; its output. Raises CalledProcessError."""
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def inside(layout: Layout, command: Sequence[str | Path]) -> list[str | Path]:
    """`command`, to be run in the cluster's network; as it is where there is no namespace."""
    if layout.api_only:
        return list(command)
    return ["nsenter", f"--net={NAMESPACES / layout.namespace}", *command]


def create_network(layout: Layout) -> None:
    """Make the namespace, its addresses, and the way out of it by the machine's own."""
    space, link = layout.namespace, layout.link
    run("ip", "netns", "add", space)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "address", "add", f"{layout.machine_address}/24", "dev", link)
    run("ip", "link", "set", link, "up")
    run("ip", "-n", space, "link", "set", "lo", "up")
    for letter in layout.node_letters:
        address = f"{layout.node_address(letter)}/24"
        run("ip", "-n", space, "address", "add", address, "dev", "eth0")
    run("ip", "-n", space, "link", "set", "eth0", "up")
    run("ip", "-n", space, "route", "add", "default", "via", layout.machine_address)
    run("ip", "route", "add", layout.cluster_range, "via", layout.node_address("a"))
    if which("modprobe"):  # without it, answers between pods of a node skip kube-proxy's rules
        subprocess.run(("modprobe", "br_netfilter"), capture_output=True, check=False)
    for sysctl in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        file = Path("/proc/sys") / sysctl
        if file.exists():
            run(*(str(word) for word in inside(layout, ["tee", file])), text="1")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    rules = MASQUERADE.format(table=space, range=layout.cluster_range, link=link)
    run("nft", "-f", "-", text=rules)


def delete_network(layout: Layout) -> None:
    """Remove what create_network made, as far as it is there."""
    space = layout.namespace
    subprocess.run(("nft", "delete", "table", "ip", space), capture_output=True, check=False)
    link = Path("/sys/class/net") / layout.link
    if link.exists():
        run("ip", "link", "delete", layout.link)
    if (NAMESPACES / space).exists():
        run("ip", "netns", "delete", space)


def processes_inside(layout: Layout) -> list[int]:
    """The pids of all processes in the cluster's own namespace, recorded or not."""
    try:
        wanted = (NAMESPACES / layout.namespace).stat()
    except FileNotFoundError:
        return []
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            network = os.stat(process / "ns/net")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if (network.st_dev, network.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(process.name))
    return found
