"""Cleaning: text in one Unicode form, and the documents that are not worth training on."""

import re
import unicodedata
from typing import Final

import py3langid

from llmcloud.api.dataset import Clean, Format
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_data.rejections import Rejection
from llmcloud_data.repetition import repeats

LANGUAGE_CHARACTERS: Final = 2000
"""The language is that of so much of the beginning."""

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")


def normalised(text: str) -> str:
    """Unicode NFC (UAX #15), without control characters but for newline and tab."""
    return unicodedata.normalize("NFC", _CONTROL.sub("", text))


def unfit(text: str, format_: Format, clean: Clean) -> Rejection | None:
    """Why a normalised text is left out, the cheapest reason first; None if it is kept."""
    if not text.strip():
        return Rejection.EMPTY
    if len(text) < clean.min_characters:
        return Rejection.SHORT
    if clean.max_characters is not None and len(text) > clean.max_characters:
        return Rejection.LONG
    if format_ == "code":
        return None
    if clean.languages is not None and language(text) not in clean.languages:
        return Rejection.LANGUAGE
    if clean.repetition and repeats(text):
        return Rejection.REPETITION
    return None


def language(text: str) -> str:
    """The most probable language of a text, as its ISO 639 code.

    M. Lui and T. Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", 2012.
    """
    code, _ = py3langid.classify(text[:LANGUAGE_CHARACTERS])
    return str(code)


def check_languages(clean: Clean | None) -> None:
    """Raises ConfigurationInvalid for a language that is none of those told apart."""
    if clean is None or clean.languages is None:
        return
    known = {str(code) for code, _ in py3langid.rank("")}
    if unknown := sorted(set(clean.languages) - known):
        raise ConfigurationInvalid(
            f"spec.prepare.clean.languages names {', '.join(unknown)}, which cannot be told from "
            f"others; known are {', '.join(sorted(known))}."
        )
