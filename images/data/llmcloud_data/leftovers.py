"""Unfinished work of datasets that are gone: removed by whoever prepares at the same path later."""

import logging
import re
from typing import Final

from llmcloud.api.base import ApiModel
from llmcloud.cloud.base import Store
from llmcloud.cloud.errors import TaskError
from llmcloud.cloud.manifest import read_manifest

WEEK_SECONDS: Final = 7 * 86400
"""So old is unfinished work that nobody goes on with; unfinished uploads go after as long."""
WORK: Final = "work/"

log = logging.getLogger(__name__)


class Began(ApiModel):
    """Of an attempt's agreement: when its first worker began, in seconds since the epoch."""

    began_seconds: int | None = None


def remove_leftovers(store: Store, output_path: str, own_uid: str, now_seconds: float) -> None:
    """Remove what lies below `work/<uid>/` of others, if no attempt has begun there for a week.

    A dataset that another cluster or namespace has at this path is left alone for as long. Should
    it wait longer than that, it reads its sources again; versions are not touched. What cannot be
    removed stays.
    """
    try:
        _remove(store, output_path + WORK, own_uid, now_seconds)
    except TaskError as error:
        log.warning("Unfinished work of others may be left: %s", error)


def _remove(store: Store, folder: str, own_uid: str, now_seconds: float) -> None:
    newest: dict[str, float] = {}
    for info in store.list(folder):
        found = re.fullmatch(r"([^/]+)/a\d+\.json", info.path.removeprefix(folder))
        if found is None or found[1] == own_uid:
            continue
        attempt = read_manifest(store, info.path, Began)
        if attempt is not None:
            began_seconds = attempt.began_seconds if attempt.began_seconds else now_seconds
            newest[found[1]] = max(newest.get(found[1], 0), began_seconds)
    for uid, began_seconds in newest.items():
        if began_seconds < now_seconds - WEEK_SECONDS:
            log.info("Removing the unfinished work of %s", uid)
            agreements = f"{folder}{uid}/a"  # last: without them it would not be found again
            for below in store.list(f"{folder}{uid}/"):
                if not below.path.startswith(agreements) or "/" in below.path[len(agreements) :]:
                    store.delete(below.path)
            for agreement in store.list(agreements):
                store.delete(agreement.path)
