"""Exact duplicates: documents whose texts are the same but for white space."""

import numpy as np

from llmcloud_data.documents import Digests, Mask


def exact_duplicates(digests: Digests) -> Mask:
    """Which documents have the `text_digest` of an earlier one."""
    copies = np.ones(len(digests), dtype=np.bool_)
    _, first = np.unique(digests, return_index=True)
    copies[first] = False
    return copies
