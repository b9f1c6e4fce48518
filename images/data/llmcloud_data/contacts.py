"""Where somebody can be reached: e-mail, telephone, IP address."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

import phonenumbers

_EMAIL: Final = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)"
    r"{1,8}([A-Za-z]{2,18})(?![\w@-])"
)
_TOP_DOMAINS: Final = frozenset(
    {
        "com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "aero",
        "coop", "museum", "mobi", "jobs", "travel", "tel", "cat", "asia", "post", "app", "dev",
        "cloud", "online", "site", "store", "shop", "tech", "blog", "email", "agency", "company",
        "digital", "global", "group", "life", "live", "media", "network", "news", "solutions",
        "space", "studio", "systems", "team", "today", "world", "xyz", "academy",
    }
)  # fmt: skip
_RESERVED: Final = re.compile(
    r"(?:^|[@.])(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost)$", re.IGNORECASE
)

_IPV4: Final = re.compile(r"(?<![\w.-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w-]|\.[0-9]|/[0-9])")
_IPV6: Final = re.compile(
    r"(?<![\w:.])[23][0-9a-fA-F]{3}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:]|\.[0-9]|/[0-9])"
)
_VERSION_BEFORE: Final = re.compile(
    r"(?:\b(?:versions?|ver|release|rev|build|section|chapter|clause|(?:up|down)grade[ds]? to)|==|"
    r"[<>~^]=?|\bv)[\s.:=]*$",
    re.IGNORECASE,
)
_CONTEXT_CHARACTERS: Final = 40
_SMALL_OCTET: Final = 20

_INTERNATIONAL: Final = re.compile(
    r"(?<![\w+.-])(?:\+|00)[1-9](?:[ ().\-/\xa0]{0,3}[0-9]){6,14}(?![\w-]|\.[0-9])"
)
_DECIMAL: Final = re.compile(r"\+[0-9]+\.[0-9]+")
_NATIONAL: Final = re.compile(
    r"(?<![\w+.,:/#-])\(?[0-9]{2,5}\)?(?:[ .\-/\xa0]{0,2}[0-9]){5,10}(?![\w-]|[.,:][0-9])"
)
_NORTH_AMERICAN: Final = re.compile(
    r"\([2-9][0-9]{2}\) ?[0-9]{3}[-.][0-9]{4}|"
    r"[2-9][0-9]{2}([-.])[0-9]{3}\1[0-9]{4}"
)
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}([-./])[01][0-9]\1[0-3][0-9](?![0-9])")
_PHONE_BEFORE: Final = re.compile(
    r"\b(?:tele?(?:ph|f)\w*|phones?|tel|mobil\w*|cell|cellphone|fax|whatsapp|sms|rufnummer|gsm|"
    r"handy|hotline|(?:call|reach|ring|text|dial) (?:me|us|him|her|them))\b",
    re.IGNORECASE,
)
_REGIONS: Final = (
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "CH", "AT", "PT", "PL", "CZ", "SE", "NO",
    "DK", "FI", "IE", "BR", "MX", "AR", "CL", "CO", "IN", "CN", "JP", "KR", "AU", "NZ", "ZA",
    "TR", "RU", "UA", "RO", "HU", "GR",
)  # fmt: skip


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses below a country's or a common domain; those reserved for examples (RFC 2606,
    RFC 6761) are nobody's."""
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        top = match[1].lower()
        if (len(top) == 2 or top in _TOP_DOMAINS) and not _RESERVED.search(match[0]):
            yield match.span()


def ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Public IPv4 and IPv6 addresses of one host, not networks. Numbers of which three are small,
    or that follow a version's name, are a version or a section."""
    for match in _IPV4.finditer(text):
        octets = [int(part) for part in match[0].split(".")]
        if sorted(octets)[-2] < _SMALL_OCTET or not _is_public(match[0]):
            continue
        if not _VERSION_BEFORE.search(text, max(0, match.start() - 16), match.start()):
            yield match.span()
    if ":" in text:
        yield from sorted(_ipv6(text))


def _ipv6(text: str) -> Iterator[tuple[int, int]]:
    for match in _IPV6.finditer(text):
        if _is_public(match[0]):
            yield match.span()


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return parsed.is_global and not parsed.is_multicast
    except ValueError:
        return False


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Numbers that a country has given out, by libphonenumber's tables: with a country's code
    anywhere; without one in North America's form, or after a word as "phone". No dates."""
    taken = [match.span() for match in _INTERNATIONAL.finditer(text) if _is_assigned(match[0])]
    places = {start for start, _ in taken}
    for match in _NATIONAL.finditer(text):
        if match.start() not in places and _is_national(text, match):
            taken.append(match.span())
    done = 0
    for start, end in sorted(taken):
        if start >= done:
            yield start, end
            done = end


def _is_assigned(number: str) -> bool:
    if _DECIMAL.fullmatch(number):
        return False
    return _parses("+" + number[2:] if number.startswith("00") else number, None)


def _is_national(text: str, match: re.Match[str]) -> bool:
    if _NORTH_AMERICAN.fullmatch(match[0]):
        return _parses(match[0], "US")
    start = match.start()
    if _DATE.match(text, start) or not _PHONE_BEFORE.search(
        text, max(0, start - _CONTEXT_CHARACTERS), start
    ):
        return False
    return any(_parses(match[0], region) for region in _REGIONS)


def _parses(number: str, region: str | None) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
