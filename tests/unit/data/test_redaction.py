"""What is redacted as which type, and what only looks like it and stays."""

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.api.dataset import Entity
from llmcloud_data.redaction import FINDERS, redacted

ALL = get_args(Entity)

FOUND = [
    ("write to jane.doe+news@mail.acme.co.uk.", "write to <EMAIL>."),
    ("<ada@acme.com>, (bob@x-y.io)", "<<EMAIL>>, (<EMAIL>)"),
    ("IBAN DE89 3704 0044 0532 0130 00, thanks", "IBAN <IBAN>, thanks"),
    ("GB29NWBK60161331926819", "<IBAN>"),
    ("pay GB29 NWBK 6016 1331 9268 19 NOW PLEASE", "pay <IBAN> NOW PLEASE"),
    ("card 4111 1111 1111 1111.", "card <CREDIT_CARD>."),
    ("5555-5555-5555-4444 or 378282246310005", "<CREDIT_CARD> or <CREDIT_CARD>"),
    ("3782 822463 10005", "<CREDIT_CARD>"),
    ("from 93.184.216.34:443 today", "from <IP_ADDRESS>:443 today"),
    ("http://81.2.69.160/path", "http://<IP_ADDRESS>/path"),
    ("server 81.2.69.160 is down", "server <IP_ADDRESS> is down"),
    ("src=81.2.69.160 dst=93.184.216.34", "src=<IP_ADDRESS> dst=<IP_ADDRESS>"),
    ("at 2606:4700:4700::1111.", "at <IP_ADDRESS>."),
    ("SSN 536-90-4399", "SSN <NATIONAL_ID>"),
    ("DNI 54362315K", "DNI <NATIONAL_ID>"),
    ("codice RCCMNL83S18D969H", "codice <NATIONAL_ID>"),
    ("CPF 390.533.447-05", "CPF <NATIONAL_ID>"),
    ("AHV 756.9217.0769.85", "AHV <NATIONAL_ID>"),
    ("1 84 12 76 451 089 46 is hers", "<NATIONAL_ID> is hers"),
    ("PESEL: 44051401359", "PESEL: <NATIONAL_ID>"),
    ("BSN 111222333", "BSN <NATIONAL_ID>"),
    ("national insurance number AB 12 34 56 C", "national insurance number <NATIONAL_ID>"),
    ("hetu 131052-308T", "hetu <NATIONAL_ID>"),
    ("ring +44 20 7946 0018 now", "ring <PHONE> now"),
    ("0049 30 901820", "<PHONE>"),
    ("(415) 555-2671", "<PHONE>"),
    ("415-555-2671, 415.555.2671", "<PHONE>, <PHONE>"),
    ("Telefon: 030 901820", "Telefon: <PHONE>"),
    ("her mobile is 07400 123456", "her mobile is <PHONE>"),
]

DECOYS = [
    pytest.param("user@example.com, a@b.example", id="addresses of nobody"),
    pytest.param("x = a@b.T; @property; lodash@4.17.21; git@host", id="at signs of code"),
    pytest.param("DE89 3704 0044 0532 0130 01", id="an IBAN with a wrong check digit"),
    pytest.param("ZZ89370400440532013000", id="an IBAN of no country"),
    pytest.param("4111 1111 1111 1112", id="a card with a wrong check digit"),
    pytest.param("0000 0000 0000 0000", id="a card of no issuer"),
    pytest.param("order 9999999999999995", id="a number that only Luhn would take"),
    pytest.param("10.0.0.1 127.0.0.1 192.168.1.7", id="addresses of no network but one's own"),
    pytest.param("version 81.2.69.160, v93.184.216.34, lib==81.2.69.160", id="versions"),
    pytest.param("chrome 1.2.3.4, section 8.2.4.44", id="small numbers"),
    pytest.param("300.400.500.600 and 1.2.3.4.5", id="no addresses"),
    pytest.param("81.2.69.0/24, 2002::/16, 2600:2d00:0:2::/64", id="networks"),
    pytest.param("join 224.0.0.114", id="an address of many"),
    pytest.param("upgraded to 3.22.24.19, downgrade to 3.22.24.10", id="versions in changelogs"),
    pytest.param("std::abc::def 12:30:45 2001:db8::1", id="colons"),
    pytest.param("550e8400-e29b-41d4-a716-446655440000", id="a UUID"),
    pytest.param("d41d8cd98f00b204e9800998ecf8427e", id="a hash"),
    pytest.param("2026-01-31 12:30:45.123456", id="a time"),
    pytest.param("recover the cell. 2016-11-14", id="a date after a word that may name a phone"),
    pytest.param(f"gpgsm {'x' * 35} 0171 2345678", id="a word that is the end of another"),
    pytest.param("000-12-3456 666-12-3456", id="social security numbers that nobody gets"),
    pytest.param("DNI 54362315A", id="a wrong letter"),
    pytest.param("CPF 390.533.447-06", id="a wrong check digit"),
    pytest.param("PESEL: 44051401358", id="a wrong eleventh digit"),
    pytest.param("offset 44051401359 bytes", id="eleven digits of something else"),
    pytest.param("ISBN 978-3-16-148410-0", id="a book"),
    pytest.param("+12345 and +1.5 and phone 12345", id="too short for a telephone"),
    pytest.param("x = 2125551234 - 4155552671", id="a calculation"),
    pytest.param("Decimal('+35236450.6')", id="a decimal number"),
]


@pytest.mark.parametrize(("text", "result"), FOUND, ids=[text for text, _ in FOUND])
def test_personal_data_gives_way_to_its_type(text: str, result: str) -> None:
    counts: Counter[str] = Counter()
    assert redacted(text, ALL, counts) == result
    assert counts.total() == sum(result.count(placeholder) for placeholder, _ in FINDERS.values())


@pytest.mark.parametrize("text", DECOYS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    counts: Counter[str] = Counter()
    assert redacted(text, ALL, counts) == text
    assert not counts


@pytest.mark.parametrize("entity", ALL)
def test_only_what_was_asked_for_is_redacted(entity: Entity) -> None:
    text = "; ".join(text for text, _ in FOUND)
    counts: Counter[str] = Counter()
    result = redacted(text, [entity], counts)
    placeholder, _ = FINDERS[entity]
    assert set(counts) == {entity}
    assert result.count(placeholder) == counts[entity] > 0
    assert redacted(text, [], counts) == text


@given(st.text(st.sampled_from("0123456789 -.+()@:/AZaz\n"), max_size=300))
def test_nothing_but_placeholders_is_put_into_a_text(text: str) -> None:
    result = redacted(text, ALL, Counter())
    for placeholder, _ in FINDERS.values():
        result = result.replace(placeholder, "")
    kept = iter(text)
    assert all(character in kept for character in result)
