"""`llmcloud key new`: a key and the LLMAccessKey that lets it in, made on the user's machine."""

import argparse
import hashlib
import secrets
from datetime import datetime
from typing import Final, TextIO

import yaml

from llmcloud.api.accesskey import AllowedDeployments, LLMAccessKeySpec
from llmcloud.api.names import API_VERSION, Kind

KEY_BYTES: Final = 32
PREFIX: Final = "llmkey-"
"""So that people and scanners of secrets know one when they see it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `llmcloud key`."""
    new = parser.add_subparsers(dest="what", required=True).add_parser(
        "new",
        help="make a key: the object on standard output, the key once on standard error",
        description="For example: llmcloud key new ci -n team-a | kubectl apply -f -",
    )
    new.add_argument("name", help="of the LLMAccessKey")
    new.add_argument("-n", "--namespace", help="absent: kubectl's")
    new.add_argument(
        "--deployment",
        action="append",
        metavar="NAME",
        help="an LLMDeployment that it opens, once for each; absent: all of the namespace",
    )
    new.add_argument(
        "--expires-at", type=_moment, metavar="TIME", help="for example 2027-01-01T00:00:00Z"
    )


def run(arguments: argparse.Namespace, out: TextIO, once: TextIO) -> int:
    """Write the object to `out` and the key to `once`."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    allowed = AllowedDeployments(names=arguments.deployment) if arguments.deployment else None
    spec = LLMAccessKeySpec(
        sha256=hashlib.sha256(key.encode()).hexdigest(),
        deployments=allowed,
        expires_at=arguments.expires_at,
    )
    namespace = {"namespace": arguments.namespace} if arguments.namespace else {}
    manifest = {
        "apiVersion": API_VERSION,
        "kind": str(Kind.ACCESS_KEY),
        "metadata": {"name": arguments.name, **namespace},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True),
    }
    yaml.safe_dump(manifest, out, sort_keys=False)
    print(f"The key, shown this once: {key}", file=once)
    return 0


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("say the time zone too, for example by a Z at the end")
    return moment
