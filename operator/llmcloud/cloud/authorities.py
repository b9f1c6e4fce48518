"""Certificate authorities that the installation adds to those of the image.

Clients differ in which variable they read, and each takes one file instead of its own roots.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from llmcloud.api.contract import ENV_AUTHORITIES

SYSTEM_ROOTS: Final = Path("/etc/ssl/certs/ca-certificates.crt")
ENV_BUNDLE: Final = "SSL_CERT_FILE"
"""Read by OpenSSL, hence by Python's `ssl` and by httpx."""
ENV_OTHERS: Final = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
"""Read by requests (Google's and Azure's clients) and by botocore."""


def trust_authorities() -> None:
    """Have this process and its children trust the authorities (PEM) in the file that the
    environment names, besides those that it trusts without.

    To be called before the first client is made. Without the variable nothing changes. Raises
    OSError if a file cannot be read.
    """
    added = os.environ.pop(ENV_AUTHORITIES, "")
    if not added:
        return
    roots = Path(os.environ.get(ENV_BUNDLE) or SYSTEM_ROOTS)
    with tempfile.NamedTemporaryFile(prefix="authorities-", suffix=".pem", delete=False) as bundle:
        bundle.write(roots.read_bytes() + b"\n" + Path(added).read_bytes())
    os.environ |= dict.fromkeys((ENV_BUNDLE, *ENV_OTHERS), bundle.name)
