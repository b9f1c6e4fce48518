"""Why a document is left out."""

from enum import StrEnum


class Rejection(StrEnum):
    """The keys of `status.rejected`."""

    EMPTY = "empty"
    INVALID_UTF8 = "invalidUtf8"
    TOO_LARGE = "tooLarge"
    CORRUPT = "corrupt"
    ARCHIVE = "archive"
    INVALID_RECORD = "invalidRecord"
    MISSING_FIELD = "missingField"
    NOT_TEXT = "notText"
    NOT_A_LIST = "notAList"
    UNKNOWN_LABEL = "unknownLabel"
    UNKNOWN_ROLE = "unknownRole"
    NO_ANSWER = "noAnswer"
    LENGTH_MISMATCH = "lengthMismatch"
    SHORT = "short"
    LONG = "long"
    LANGUAGE = "language"
    REPETITION = "repetition"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "nearDuplicate"
