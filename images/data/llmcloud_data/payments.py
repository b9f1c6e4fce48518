"""Payment data: IBANs and card numbers, by shape, issuer and check digit."""

import re
from collections.abc import Iterator
from typing import Final

from stdnum import iban, luhn

_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ \xa0-]?[A-Z0-9]{4}){2,7}(?:[ \xa0-]?[A-Z0-9]{1,3})?"
    r"(?![A-Za-z0-9])"
)
_SEPARATOR: Final = re.compile(r"[ \xa0-]")
_CARD: Final = re.compile(
    r"(?<![\w.+-])(?:[0-9]{12,19}"
    r"|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,4}(?:\1[0-9]{1,3})?)?"
    r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5})(?![\w-]|\.[0-9])"
)
_ISSUERS: Final = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}"  # American Express
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12,15}"  # Discover
    r"|35[0-9]{14,17}|(?:2131|1800)[0-9]{11}"  # JCB
    r"|3(?:0[0-59]|[689][0-9])[0-9]{11}"  # Diners Club
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:50|5[6-8]|6[37])[0-9]{10,17}"  # Maestro
)


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """ISO 13616: length and form of the country, and remainder 1 of 97.

    Words in capitals may follow a number in groups: what is too much is taken off group-wise.
    """
    for match in _IBAN.finditer(text):
        end = match.end()
        while end > match.start():
            if iban.is_valid(_SEPARATOR.sub("", text[match.start() : end])):
                yield match.start(), end
                break
            end = max(text.rfind(mark, match.start(), end) for mark in " \xa0-")


def credit_cards(text: str) -> Iterator[tuple[int, int]]:
    """ISO/IEC 7812: an issuer's prefix and length, in one or in groups, and Luhn's check digit."""
    for match in _CARD.finditer(text):
        number = _SEPARATOR.sub("", match[0])
        if _ISSUERS.fullmatch(number) and luhn.is_valid(number):
            yield match.span()
