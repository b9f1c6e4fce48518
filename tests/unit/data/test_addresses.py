"""Which addresses sources of the web may reach."""

import pytest

from llmcloud.api.contract import NetworkRules
from llmcloud_data.addresses import Judge, plain


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254",
        "172.16.0.1", "192.168.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "fc00::1", "fe80::1%eth0",
        "ff02::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_internet_is_refused(address: str) -> None:
    assert not Judge(NetworkRules()).permits(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1",
                                     "64:ff9b::101:101"])  # fmt: skip
def test_an_address_of_the_internet_is_reached(address: str) -> None:
    assert Judge(NetworkRules()).permits(address)


def test_the_installation_allows_and_refuses_networks() -> None:
    judge = Judge(NetworkRules(allowed=["10.1.0.0/16", "fd00:1::/32"], refused=["1.1.0.0/16"]))
    assert judge.permits("10.1.2.3")
    assert judge.permits("fd00:1::5")
    assert not judge.permits("10.2.0.1")
    assert not judge.permits("1.1.1.1")
    assert not judge.permits("::ffff:1.1.1.1")
    assert judge.permits("::ffff:10.1.2.3")


def test_a_url_is_named_without_what_may_be_secret() -> None:
    assert plain("https://user:pass@host:8443/a%20b?sig=1#x") == "https://host:8443/a%20b"
