"""National identification numbers, by shape and check digit (python-stdnum).

A shape that much else has (eleven digits) counts only where the words before it name it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

_CONTEXT_CHARACTERS: Final = 48


@dataclass(frozen=True, slots=True)
class _Shape:
    """A pattern and the numbers that have it, as modules of stdnum; none: the shape is enough."""

    pattern: str
    numbers: tuple[str, ...]
    named: bool = False


_SHAPES: Final = (
    _Shape(r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", ("it.codicefiscale",)),
    _Shape(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d", ("mx.curp",)),
    _Shape(r"\d{17}[\dXx]", ("cn.ric",)),
    _Shape(r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", ("fr.nir",)),
    _Shape(r"756\.?\d{4}\.?\d{4}\.?\d\d", ("ch.ssn",)),
    _Shape(r"\d{13}", ("za.idnr", "ro.cnp", "si.emso", "kr.rrn")),
    _Shape(r"\d-?\d{4}-?\d{5}-?\d\d-?\d", ("th.pin",), named=True),
    _Shape(r"\d{6}-[1-8]\d{6}", ("kr.rrn",)),
    _Shape(r"\d{6}(?:\d\d)?[-+]\d{4}", ("se.personnummer", "is_.kennitala", "fi.hetu")),
    _Shape(r"\d{6}-\d{4}", ("dk.cpr",), named=True),
    _Shape(r"\d{6}[-+A-FU-Y]\d{3}[\dA-FHJ-NPR-Y]", ("fi.hetu",)),
    _Shape(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", ("be.nn",)),
    _Shape(r"\d{3}\.\d{3}\.\d{3}-\d\d", ("br.cpf",)),
    _Shape(r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", ("cl.rut",)),
    _Shape(r"\d{6}/\d{3,4}", ("cz.rc",)),
    _Shape(r"\d{3}-\d\d-\d{4}", ("us.ssn",)),
    _Shape(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", ()),
    _Shape(r"(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]", ("es.nif",)),
    _Shape(r"\d{7}[A-W][A-IW]?", ("ie.pps",)),
    _Shape(r"\d{4} ?\d{4} ?\d{4}", ("in_.aadhaar",), named=True),
    _Shape(
        r"\d\d ?\d{3} ?\d{3} ?\d{3}",
        (
            "pl.pesel", "de.idnr", "tr.tckimlik", "hr.oib", "no.fodselsnummer", "ee.ik",
            "lt.asmens", "gr.amka", "be.nn", "br.cpf",
        ),
        named=True,
    ),
    _Shape(r"\d{6} ?\d{5}", ("no.fodselsnummer", "ee.ik", "gr.amka"), named=True),
    _Shape(
        r"\d{10}", ("bg.egn", "at.vnr", "dk.cpr", "se.personnummer", "is_.kennitala"), named=True
    ),
    _Shape(r"\d{3}[ -]?\d{3}[ -]?\d{4}", ("gb.nhs",), named=True),
    _Shape(
        r"\d{3}[ -]?\d{3}[ -]?\d{3}", ("ca.sin", "au.tfn", "nl.bsn", "il.idnr", "pt.nif", "us.ssn"),
        named=True,
    ),
)  # fmt: skip

_CANDIDATE: Final = re.compile(
    r"(?<![\w.+/-])(?=[0-9A-Z])(?:"
    + "|".join(f"(?={shape.pattern}(?![\\w/-]|\\.[0-9]))" for shape in _SHAPES)
    + ")"
)
_PATTERNS: Final = [re.compile(shape.pattern + r"(?![\w/-]|\.[0-9])") for shape in _SHAPES]
_NAMES: Final = re.compile(
    r"\b(?:ssn|sin|tfn|bsn|pesel|cpf|cpr|cnp|egn|oib|amka|idnr|pps|nhs|nif|dni|emso|aadhaar|kimlik|"
    r"isikukood|asmens|kennitala|svnr|steuer\w*|sozialversicherung\w*|personal|personnummer|"
    r"person(?:en)?nummer|national\w*|nacional|nazionale|identity|identit\w+|identifi\w+|"
    r"social|sociale|insurance|tax(?:payer)?|fiscal\w*|citizen\w*|burgerservice\w*|sofi\w*|"
    r"f[o\xf8]dsels\w*|contribuinte|teudat|id (?:number|no|card|code))\b",
    re.IGNORECASE,
)
_KNOWN: Final[dict[str, Any]] = {
    name: import_module(f"stdnum.{name}") for shape in _SHAPES for name in shape.numbers
}


def national_ids(text: str) -> Iterator[tuple[int, int]]:
    """Numbers of about thirty countries; the first shape that fits is taken."""
    place = 0
    while (candidate := _CANDIDATE.search(text, place)) is not None:
        start = candidate.start()
        end = _end(text, start)
        if end is not None:
            yield start, end
        place = end or start + 1


def _end(text: str, start: int) -> int | None:
    """Where the number that begins at `start` ends; None if there is none."""
    named: bool | None = None
    for shape, pattern in zip(_SHAPES, _PATTERNS, strict=True):
        match = pattern.match(text, start)
        if match is None:
            continue
        if shape.named and named is None:
            named = _NAMES.search(text, max(0, start - _CONTEXT_CHARACTERS), start) is not None
        if shape.named and not named:
            continue
        numbers = shape.numbers
        if not numbers or any(_KNOWN[name].is_valid(match[0]) for name in numbers):
            return match.end()
    return None
