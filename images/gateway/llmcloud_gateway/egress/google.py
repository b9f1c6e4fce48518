"""Access tokens of a Google service account: a signed assertion is exchanged for one (RFC 7523)."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

from google.auth import crypt, jwt

from llmcloud_gateway.egress.dialects import Target, parse_url
from llmcloud_gateway.errors import GatewayError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS = 3600
EARLY_SECONDS = 120
"""A token is renewed so long before it ends."""

Post = Callable[[Target, dict[str, str], bytes], Awaitable[tuple[int, bytes]]]
"""Status and body of a POST."""


class AccessTokens:
    """Tokens for the account whose key file is at `key_file`, read anew for each."""

    def __init__(self, key_file: Path, post: Post) -> None:
        self._key_file = key_file
        self._post = post
        self._token = ""
        self._ends = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def get(self) -> str:
        """A token that is good for a while. GatewayError 502 if there is none to be had."""
        async with self._one_at_a_time:
            if time.monotonic() >= self._ends - EARLY_SECONDS:
                self._token, seconds = await self._exchange()
                self._ends = time.monotonic() + seconds
            return self._token

    def forget(self) -> None:
        """The provider refused the token: the next request gets a new one."""
        self._ends = 0.0

    async def _exchange(self) -> tuple[str, float]:
        try:
            account = json.loads(self._key_file.read_text())
            signer = crypt.RSASigner.from_service_account_info(account)  # type: ignore[no-untyped-call]
            where = parse_url(account["token_uri"])
            email = str(account["client_email"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            # The error of a parser may quote the key.
            raise _unusable(
                f"it is not a service account's key file ({type(error).__name__})"
            ) from None
        now = int(time.time())
        claims = {
            "iss": email,
            "scope": SCOPE,
            "aud": account["token_uri"],
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        assertion = jwt.encode(signer, claims).decode()  # type: ignore[no-untyped-call]
        body = urlencode({"grant_type": GRANT, "assertion": assertion}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        status, answer = await self._post(where, headers, body)
        if status != 200:
            raise _unusable(f"{where.host} answered {status} to it")
        try:
            said = json.loads(answer)
            return str(said["access_token"]), float(said["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise _unusable(f"{where.host} gave no token for it") from None


def _unusable(why: str) -> GatewayError:
    return GatewayError(
        502,
        "ProviderRefusedKey",
        f"The key of this model cannot be used: {why}. Whoever owns the deployment has to correct "
        "the Secret that external.apiKeySecretRef names.",
    )
