"""Sources of the web against an https server of our own: whole and right, or a clear error."""

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from llmcloud.api.contract import ENV_AUTHORITIES, NetworkRules, SourceTask, UrlSource
from llmcloud.api.names import Reason
from llmcloud.cloud.errors import (
    ConfigurationInvalid,
    CredentialsRefused,
    DigestMismatch,
    ObjectChanged,
    ObjectNotFound,
    SourceUnreachable,
)
from llmcloud_data.addresses import Judge
from llmcloud_data.origins import Origins, UrlOrigin
from llmcloud_data.sources import SourceFile, list_sources, read_sources
from llmcloud_data.web import ATTEMPTS, CheckedNetwork, Web
from tests.contract.certificates import write_certificate
from tests.contract.servers import Server
from tests.contract.test_dataset import dataset, prepare_as_a_pod
from tests.contract.website import Asked, Site, Trouble, website

LOOPBACK = NetworkRules(allowed=["127.0.0.0/8"])
BODY = random.Random(1).randbytes(3_000_000)
DIGEST = sha256(BODY).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with website(write_certificate(tmp_path / "tls")) as running:
        running.files["/data.jsonl"] = BODY
        yield running


@pytest.fixture
def web(site: Site) -> Iterator[Web]:
    """A client of an installation that allows loopback, and does not wait long."""
    with closing(Web(LOOPBACK, tls=site.tls, pause_seconds=0.001)) as client:
        yield client


def first(*troubles: Trouble | int) -> Callable[[Asked], Trouble | int | None]:
    """The first answers are spoiled."""
    left = list(troubles)
    return lambda asked: left.pop(0) if left else None


def fetch(web: Web, url: str, folder: Path, size_bytes: int = len(BODY)) -> str:
    """The SHA-256 of what is read."""
    file = folder / "file"
    web.fetch(url, file, size_bytes)
    return sha256(file.read_bytes()).hexdigest()


def test_a_broken_connection_is_gone_on_with_and_nothing_is_read_twice(
    site: Site, web: Web, tmp_path: Path
) -> None:
    site.judge = first(*[Trouble.CUT] * 4)
    assert fetch(web, f"{site.url}/data.jsonl", tmp_path) == DIGEST
    assert site.sent_bytes == len(BODY)
    assert ["range" in asked.headers for asked in site.asked] == [False, True, True, True, True]


def test_a_server_without_ranges_is_read_anew(site: Site, web: Web, tmp_path: Path) -> None:
    site.judge = first(Trouble.CUT, Trouble.NO_RANGE)
    assert fetch(web, f"{site.url}/data.jsonl", tmp_path) == DIGEST


def test_a_file_that_changes_half_way_is_never_mixed(site: Site, web: Web, tmp_path: Path) -> None:
    changed = BODY[::-1]

    def judge(asked: Asked) -> Trouble | None:
        if "range" not in asked.headers:
            site.files["/data.jsonl"] = changed
            return Trouble.CUT
        return None

    site.judge = judge
    assert fetch(web, f"{site.url}/data.jsonl", tmp_path) == sha256(changed).hexdigest()
    site.judge = first()
    site.files["/data.jsonl"] = BODY + b"more"
    with pytest.raises(ObjectChanged):
        fetch(web, f"{site.url}/data.jsonl", tmp_path)


def test_errors_that_pass_are_waited_for_and_others_end_soon(
    site: Site, web: Web, tmp_path: Path
) -> None:
    site.judge = first(503, 429, 500)
    assert fetch(web, f"{site.url}/data.jsonl", tmp_path) == DIGEST
    site.judge = lambda asked: 503
    site.asked.clear()
    with pytest.raises(SourceUnreachable, match=r"data\.jsonl could not be read \(503\)") as caught:
        fetch(web, f"{site.url}/data.jsonl?signature=secret", tmp_path)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE
    assert "secret" not in str(caught.value)
    assert len(site.asked) == ATTEMPTS


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, ObjectNotFound), (401, CredentialsRefused), (403, CredentialsRefused),
     (410, ObjectNotFound), (400, ConfigurationInvalid)],
)  # fmt: skip
def test_a_refusal_is_told_at_once(
    site: Site, web: Web, status: int, error: type[Exception]
) -> None:
    site.statuses["/gone"] = status
    with pytest.raises(error, match=str(status)):
        web.size_bytes(f"{site.url}/gone")
    assert len(site.asked) == 1


def test_size_and_time_are_bounded(site: Site, web: Web, tmp_path: Path) -> None:
    url = f"{site.url}/data.jsonl"
    site.judge = first(Trouble.NO_LENGTH, Trouble.HUGE)
    with pytest.raises(ConfigurationInvalid, match="does not tell its size"):
        web.size_bytes(url)
    huge = web.size_bytes(url)
    with pytest.raises(ConfigurationInvalid, match="cut it into files"):
        fetch(web, url, tmp_path, huge)
    site.judge = lambda asked: Trouble.DRIP
    with pytest.raises(SourceUnreachable, match="more time than a file may take"):
        web.fetch(url, tmp_path / "slow", len(BODY), seconds=0.3)


def test_only_the_internet_is_reached_unless_the_installation_allows_more(
    site: Site, tmp_path: Path
) -> None:
    port = site.url.rpartition(":")[2]
    with closing(Web(NetworkRules(), tls=site.tls)) as web:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "10.0.0.1"):
            with pytest.raises(ConfigurationInvalid, match="which sources may not reach"):
                web.size_bytes(f"https://{host}:{port}/data.jsonl")
    assert site.asked == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("https://169.254.169.254/latest/meta-data", "which sources may not reach"),
        ("https://10.96.0.1/api", "which sources may not reach"),
        ("https://[fd00::1]/", "which sources may not reach"),
        ("http://127.0.0.1/", "is not https"),
        ("/again", "redirects more than"),
    ],
)
def test_a_redirect_leads_no_further_than_a_url_may(
    site: Site, web: Web, tmp_path: Path, target: str, words: str
) -> None:
    site.redirects["/again"] = target
    with pytest.raises(ConfigurationInvalid, match=words):
        fetch(web, f"{site.url}/again", tmp_path)


def test_a_redirect_on_the_internet_is_followed(site: Site, web: Web, tmp_path: Path) -> None:
    site.redirects["/moved"] = "/data.jsonl"
    assert fetch(web, f"{site.url}/moved", tmp_path) == DIGEST


def test_the_mirror_is_trusted_at_its_own_port_alone(site: Site) -> None:
    port = int(site.url.rpartition(":")[2])
    network = CheckedNetwork(Judge(NetworkRules()), frozenset({("127.0.0.1", port)}))
    network.connect_tcp("127.0.0.1", port).close()
    with pytest.raises(ConfigurationInvalid, match="may not reach"):
        network.connect_tcp("127.0.0.1", port + 1)


def test_the_address_that_was_judged_is_the_one_connected(site: Site) -> None:
    """A name that changes its mind is judged anew at every connection."""
    answers = [["127.0.0.1"], ["127.0.0.9"], ["127.0.0.9", "127.0.0.1"]]

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in answers.pop(0)]

    judge = Judge(NetworkRules(allowed=["127.0.0.1/32"]))
    network = CheckedNetwork(judge, frozenset(), look_up)
    port = int(site.url.rpartition(":")[2])
    for refused in (False, True, False):
        if refused:
            with pytest.raises(ConfigurationInvalid, match=r"rebound\.example is at 127\.0\.0\.9"):
                network.connect_tcp("rebound.example", port)
            continue
        stream = network.connect_tcp("rebound.example", port)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        stream.close()
    assert answers == []


def test_a_server_that_is_not_trusted_is_not_read(site: Site, tmp_path: Path) -> None:
    with (
        closing(Web(LOOPBACK, pause_seconds=0.001)) as stranger,
        pytest.raises(SourceUnreachable),
    ):
        fetch(stranger, f"{site.url}/data.jsonl", tmp_path)
    assert site.asked == []


def test_a_file_with_another_digest_is_refused_and_gone(
    site: Site, web: Web, tmp_path: Path
) -> None:
    url = f"{site.url}/data.jsonl"
    right, wrong = UrlSource(url=url, sha256=DIGEST), UrlSource(url=url, sha256="0" * 64)
    assert UrlOrigin(web, right, len(BODY)).get_file("", tmp_path / "file") == DIGEST
    with pytest.raises(DigestMismatch, match=DIGEST):
        UrlOrigin(web, wrong, len(BODY)).get_file("", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_url_is_a_source_whose_name_holds_no_signature(site: Site, tmp_path: Path) -> None:
    source = UrlSource(url=f"{site.url}/data.jsonl?signature=secret", sha256=DIGEST)
    task = SourceTask(url=source, format="jsonl", include=["*"])
    with Origins(LOOPBACK, tls=site.tls) as origins:
        (file,) = read(list_sources([task, task], origins), tmp_path / "sources")
    assert file.entry.store == site.url
    assert file.entry.key == f"/data.jsonl#{DIGEST}"
    assert file.entry.sha256 == DIGEST
    assert file.file.stat().st_size == len(BODY)
    assert site.asked[-1].path.endswith("?signature=secret")


def read(objects: list[Any], folder: Path) -> list[SourceFile]:
    return read_sources(objects, folder, lambda read_bytes: None)


def test_a_pod_prepares_what_lies_on_the_web(
    site: Site, versitygw: Server, shared_bucket: Callable[[Server], str], tmp_path: Path
) -> None:
    """By the pod's own command, which trusts the installation's authorities."""
    lines = "".join(json.dumps({"body": f"line {number} " * 30}) + "\n" for number in range(99))
    site.files["/lines.jsonl"] = lines.encode()
    digest = sha256(lines.encode()).hexdigest()
    url = UrlSource(url=f"{site.url}/lines.jsonl", sha256=digest)
    location = versitygw.location(shared_bucket(versitygw), prefix="web/")
    source = SourceTask(url=url, format="jsonl", members=["body"], include=["*"])
    task = dataset(location, sources=[source], network=LOOPBACK)
    code, outcome = prepare_as_a_pod(tmp_path, task, {ENV_AUTHORITIES: str(site.certificate)})
    assert code == 0, outcome
    assert outcome.dataset is not None
    assert outcome.dataset.documents == 99
    code, outcome = prepare_as_a_pod(
        tmp_path, task.model_copy(update={"network": None, "attempt": 2}), {}
    )
    assert (code, outcome.reason) == (64, Reason.CONFIGURATION_INVALID)
    assert "127.0.0.1, which sources may not reach" in outcome.message
