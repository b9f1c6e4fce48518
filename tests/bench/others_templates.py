"""Sentences that others wrote to test the finding of personal data, filled with the test part's
values: presidio-evaluator's templates (MIT), which no rule of ours was looked at against.

What is not redacted here (names, streets, dates, ages, codes) is filled too and has to stay.
"""

import random
import re
from collections.abc import Iterator
from typing import Final

from faker import Faker

from llmcloud.api.dataset import Entity
from tests.support.corpus import Line, Values, placeholder
from tests.support.install import ROOT

FILE: Final = "presidio_evaluator/data_generator/raw_data/templates.txt"
DOCUMENT_LINES: Final = 5
_MEMBER: Final = re.compile(r"\{\{(\w+)\}\}")

OURS: Final[dict[str, Entity]] = {
    "email": "email",
    "phone_number": "phone",
    "credit_card_number": "creditCard",
    "ip_address": "ipAddress",
    "iban": "iban",
    "ssn": "nationalId",
}
LEFT_OUT: Final = {"us_driver_license"}
"""Neither redacted nor to be kept."""
FAKED: Final = {
    "person": "name",
    "organization": "company",
    "address": "street_address",
    "nationality": "country",
    "nation_plural": "country",
    "nation_woman": "country",
    "age": "random_int",
}


def templates() -> list[str]:
    """Those that name one of our types at most. FileNotFoundError without the environment."""
    (file,) = (ROOT / ".venv-bench" / "lib").glob(f"python*/site-packages/{FILE}")
    lines = file.read_text(encoding="utf-8").replace("\\n", " ").splitlines()
    return [line for line in lines if line.strip() and _fits(_MEMBER.findall(line))]


def others_documents(count: int, seed: int) -> Iterator[list[Line]]:
    dice = random.Random(seed)
    values, faker, given = Values(dice, "test"), Faker("en_US"), templates()
    faker.seed_instance(seed)
    for _ in range(count):
        yield [_line(dice.choice(given), values, faker) for _ in range(DOCUMENT_LINES)]


def _fits(members: list[str]) -> bool:
    return sum(member in OURS for member in members) <= 1 and not LEFT_OUT & set(members)


def _line(template: str, values: Values, faker: Faker) -> Line:
    entities = [OURS[member] for member in _MEMBER.findall(template) if member in OURS]

    def faked(match: re.Match[str]) -> str:
        if match[1] in OURS:
            return match[0]
        provider = getattr(faker, FAKED.get(match[1], match[1]), faker.word)
        return " ".join(str(provider()).split())

    text = _MEMBER.sub(faked, template)
    if not entities:
        return Line(text, text)
    (entity,) = entities
    value = values.of(entity)
    return Line(
        _MEMBER.sub(lambda _: value, text), _MEMBER.sub(lambda _: placeholder(entity), text), entity
    )
