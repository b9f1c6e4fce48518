"""A seeded corpus with planted personal data, decoys and duplicates, and what is true of it.

Templates and locales are split by seed into a part that rules may be looked at against and a part
that only measures. Every line holds at most one planted thing, so a redacted line is right or
wrong as a whole. Values come of Faker's providers and of libphonenumber's examples, not of the
rules.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import phonenumbers
from faker import Faker

from llmcloud.api.dataset import Entity

Part = Literal["tuned", "test"]
SPLIT_SEED: Final = 2026
PARAGRAPH_LINES: Final = 6

TEMPLATES: Final[dict[Entity, list[str]]] = {
    "email": [
        "Please send the report to {} before Friday.", "Contact: {}", "Author: Jo Lee <{}>",
        "You can reach our support team at {}, day and night.", "mailto:{}", "cc {} and archive",
        "maintainer = \"{}\"", "Her new address is {}.", "From: {}", "({})",
    ],
    "phone": [
        "Call me at {} after six.", "Phone: {}", "Tel. {}", "Our hotline {} is open on weekdays.",
        "My mobile number is {}.", "telephone {}, ask for Ines", "Fax {}", "WhatsApp: {}",
        "You may phone {} at any time.", "Text me on {} when you arrive.",
    ],
    "creditCard": [
        "Card number: {}", "I paid with {} yesterday.", "Please charge {} for the tickets.",
        "cc={}", "The card {} was declined.", "VISA {}", "payment method {}, expires 09/28",
        "card on file: {}.",
    ],
    "ipAddress": [
        "Login from {} failed.", "server {} is down", "{} - - [10/Oct/2026:13:55:36] \"GET /\"",
        "Blocked IP {} after ten attempts.", "ssh root@{}", "client {}, request 17",
        "The host answers at {}.", "peer={}",
    ],
    "iban": [
        "IBAN: {}", "Transfer the rent to {} by Monday.", "account {} at our branch",
        "Bankverbindung {}", "Please pay into {}.", "{} (main account)", "refund to {}",
        "beneficiary account: {}",
    ],
    "nationalId": [
        "My social security number is {}.", "National ID: {}", "personal identity code {}",
        "tax identification number {}", "ID number {} was copied at the desk.",
        "Please state your national insurance number: {}", "citizen number {}",
        "The patient's social insurance no. is {}.", "identity card {}", "identification no. {}",
    ],
}  # fmt: skip

ID_LOCALES: Final = [
    "it_IT", "fr_FR", "fi_FI", "de_CH", "pt_BR", "sv_SE", "nl_BE", "en_US", "pl_PL", "nl_NL",
    "tr_TR", "ro_RO", "hr_HR", "no_NO", "et_EE", "en_CA", "el_GR", "he_IL", "th_TH", "de_AT",
]  # fmt: skip
IBAN_LOCALES: Final = [
    "de_DE", "fr_FR", "en_GB", "it_IT", "nl_NL", "pl_PL", "de_AT", "de_CH", "fi_FI", "no_NO",
]  # fmt: skip
REGIONS: Final = [
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "SE", "BR", "IN", "AU", "JP", "MX", "ZA",
    "CH", "AT", "PT", "CZ", "IE",
]  # fmt: skip
DECOYS: Final = [
    "version {a}.{b}.{c}.{d} is out", "commit {sha}", "id {uuid}", "at {a}:{b}:{c} on 2026-0{d}-17",
    "ISBN 978-3-16-148410-{d}", "see section {a}.{b}.{c}.{d}", "bind 192.168.{a}.{b}",
    "user@example.com", "x = {long} * {d}", "offset {long} bytes", "order {long}", "md5 {md5}",
    "def f{a}(x): return x @ y.T", "for i in range({long}): pass", "{{{a}: {b}, {c}: {d}}}",
    "lib@{a}.{b}.{c}", "took 0.{long} s", "IBAN {bad_iban}", "card {bad_card}", "PESEL {bad_id}",
    "page {a}-{b}, row {c}", "std::vec<{a}>::iter", "+{a}.{long}", "uuid={uuid}, n={long}",
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line, what it is after redaction, and the type of what was planted in it."""

    text: str
    expected: str
    entity: Entity | None = None


@dataclass(frozen=True)
class Values:
    """Gives planted values of one part's locales."""

    dice: random.Random
    part: Part
    fakers: dict[str, Faker] = field(default_factory=dict)

    def of(self, entity: Entity) -> str:
        dice = self.dice
        match entity:
            case "email":
                faker = self._faker(dice.choice(half(IBAN_LOCALES, self.part)))
                return str(faker.free_email() if dice.random() < 0.5 else self._work_email(faker))
            case "phone":
                return self._phone()
            case "creditCard":
                return _grouped(str(self._faker("en_US").credit_card_number()), dice, " -")
            case "ipAddress":
                return self._address()
            case "iban":
                locale = dice.choice(half(IBAN_LOCALES, self.part))
                return _grouped(str(self._faker(locale).iban()), dice, " ")
            case "nationalId":
                return str(self._faker(dice.choice(half(ID_LOCALES, self.part))).ssn())

    def _faker(self, locale: str) -> Faker:
        if locale not in self.fakers:
            self.fakers[locale] = Faker(locale)
            self.fakers[locale].seed_instance(self.dice.randrange(1 << 32))
        return self.fakers[locale]

    @staticmethod
    def _work_email(faker: Faker) -> str:
        return f"{faker.user_name()}@{faker.domain_name()}"

    def _phone(self) -> str:
        region = self.dice.choice(half(REGIONS, self.part))
        kind = self.dice.choice(
            [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE]
        )
        example = phonenumbers.example_number_for_type(region, kind)
        assert example is not None
        number = phonenumbers.PhoneNumber()
        number.merge_from(example)
        while True:
            digits = str(example.national_number)[:-4] + f"{self.dice.randrange(10_000):04d}"
            number.national_number = int(digits)
            if phonenumbers.is_valid_number(number):
                break
        form = self.dice.choice(
            [
                phonenumbers.PhoneNumberFormat.E164,
                phonenumbers.PhoneNumberFormat.INTERNATIONAL,
                phonenumbers.PhoneNumberFormat.NATIONAL,
            ]
        )
        return str(phonenumbers.format_number(number, form))

    def _address(self) -> str:
        if self.dice.random() < 0.7:
            return str(self._faker("en_US").ipv4_public())
        groups = [f"{self.dice.randrange(1 << 16):x}" for _ in range(7)]
        return ":".join([f"2a{self.dice.randrange(256):02x}", *groups])


def half(items: list[str], part: Part) -> list[str]:
    """The half of `items` that belongs to a part."""
    order = sorted(items)
    random.Random(SPLIT_SEED).shuffle(order)
    return order[: len(order) // 2] if part == "tuned" else order[len(order) // 2 :]


def documents(part: Part, count: int, seed: int) -> Iterator[list[Line]]:
    """Documents of prose, planted lines and decoys."""
    dice = random.Random(f"{part} {seed}")
    values = Values(dice, part)
    prose = Faker("en_US")
    prose.seed_instance(dice.randrange(1 << 32))
    for _ in range(count):
        lines = [_plain(str(prose.sentence(12))) for _ in range(PARAGRAPH_LINES)]
        for entity in dice.sample(get_args(Entity), 2):
            lines.append(_planted(entity, values))
        lines += [_plain(_decoy(dice, values)) for _ in range(2)]
        dice.shuffle(lines)
        yield lines


def placeholder(entity: Entity) -> str:
    """What takes the place of personal data, as the documentation has it."""
    return "<" + "".join(f"_{c}" if c.isupper() else c for c in entity).upper() + ">"


def _planted(entity: Entity, values: Values) -> Line:
    template = values.dice.choice(half(TEMPLATES[entity], values.part))
    return Line(template.format(values.of(entity)), template.format(placeholder(entity)), entity)


def _plain(text: str) -> Line:
    return Line(text, text)


def _decoy(dice: random.Random, values: Values) -> str:
    small = {name: dice.randrange(1, 10) for name in "abcd"}
    return dice.choice(half(DECOYS, values.part)).format(
        **small,
        long=dice.randrange(10 ** dice.randrange(6, 16)),
        sha=f"{dice.getrandbits(160):040x}",
        md5=f"{dice.getrandbits(128):032x}",
        uuid=_uuid(dice),
        bad_iban=_spoiled(values.of("iban")),
        bad_card=_spoiled(values.of("creditCard")),
        bad_id=_spoiled(str(values._faker("pl_PL").ssn())),
    )


def _uuid(dice: random.Random) -> str:
    digits = f"{dice.getrandbits(128):032x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def _spoiled(number: str) -> str:
    """The last digit one higher, which every check digit notices."""
    place = max(index for index, character in enumerate(number) if character.isdigit())
    return number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]


def _grouped(number: str, dice: random.Random, separators: str) -> str:
    if dice.random() < 0.5 or (len(number) % 4 and separators == " -"):
        return number
    mark = dice.choice(separators)
    return mark.join(number[start : start + 4] for start in range(0, len(number), 4))
