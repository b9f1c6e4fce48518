"""Redaction: personal data in a text gives way to a placeholder of its type, `<EMAIL>`.

Found by pattern and, where a number has one, by its check digit, so that what only looks like
it (versions, hashes, other numbers) stays. Names and addresses are not looked for.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Final

from llmcloud.api.dataset import Entity
from llmcloud_data.contacts import emails, ip_addresses, phones
from llmcloud_data.national_ids import national_ids
from llmcloud_data.payments import credit_cards, ibans

Spans = Iterator[tuple[int, int]]

FINDERS: Final[dict[Entity, tuple[str, Callable[[str], Spans]]]] = {
    "email": ("<EMAIL>", emails),
    "iban": ("<IBAN>", ibans),
    "creditCard": ("<CREDIT_CARD>", credit_cards),
    "ipAddress": ("<IP_ADDRESS>", ip_addresses),
    "nationalId": ("<NATIONAL_ID>", national_ids),
    "phone": ("<PHONE>", phones),
}
"""In this order, the strictest first: what one has taken, the next does not see."""


def redacted(text: str, entities: Collection[Entity], counts: Counter[str]) -> str:
    """The text with placeholders; `counts` grows by their numbers."""
    for entity, (placeholder, find) in FINDERS.items():
        if entity not in entities:
            continue
        parts, done = [], 0
        for start, end in find(text):
            parts += [text[done:start], placeholder]
            done = end
            counts[entity] += 1
        if parts:
            text = "".join([*parts, text[done:]])
    return text
