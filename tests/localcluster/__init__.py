"""A real Kubernetes on one machine, for development and tests.

Run as `python3 -m tests.localcluster`; see README.md beside this file.
"""

from tests.localcluster.cluster import Cluster
from tests.localcluster.npm import ensure_npm_modules, ensure_npm_program
from tests.localcluster.packages import ensure_packages
from tests.localcluster.paths import LocalClusterError
from tests.localcluster.registry import ensure_registry
from tests.localcluster.tools import ensure_tool

__all__ = [
    "Cluster",
    "LocalClusterError",
    "ensure_npm_modules",
    "ensure_npm_program",
    "ensure_packages",
    "ensure_registry",
    "ensure_tool",
]
