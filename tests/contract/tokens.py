"""A token endpoint of our own, on loopback: it checks what it is presented and gives a token.

It speaks the exchanges of the three clouds: a role for a projected token (aws), a federated token
for it and then a service account's (gcp), an application's for it (azure); and the one that a
service account's own key takes part in.
"""

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from llmcloud.api.location import AwsRole, AzureApplication, GcpAccount

EMAIL = "trainer@team-a.iam.gserviceaccount.com"
PROJECTED = "projected-token-of-the-pod"
FEDERATED = "federated-token"
GRANTED = "granted-token"
TENANT = "11111111-1111-1111-1111-111111111111"
ROLE = AwsRole(role_arn="arn:aws:iam::123456789012:role/trainer")
ACCOUNT = GcpAccount(
    workload_identity_provider="projects/1/locations/global/workloadIdentityPools/p/providers/k",
    service_account=EMAIL,
)
APPLICATION = AzureApplication(tenant_id=TENANT, client_id="22222222-2222-2222-2222-222222222222")
ROLE_CREDENTIALS = """<AssumeRoleWithWebIdentityResponse
 xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>
<SessionToken>{}</SessionToken><Expiration>{}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
ROLE_REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Code>InvalidIdentityToken</Code><Message>wrong-secret</Message></Error></ErrorResponse>"""


@cache
def key_pair(name: str) -> tuple[str, str]:
    """Private and public RSA key of somebody, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def service_account_key(token_url: str, owner: str = EMAIL) -> str:
    """A key.json; with another owner than EMAIL, one that the endpoint does not know."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "team-a",
            "private_key_id": owner,
            "private_key": key_pair(owner)[0],
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{token_url}/token",
        }
    )


@contextmanager
def token_endpoint(
    access_key: str = "", secret_key: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """The endpoint's URL while it runs; a role is given the two keys."""

    class Handler(_Handler):
        role_keys = (access_key, secret_key)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        scheme = "https" if certificate else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    role_keys = ("", "")

    def do_GET(self) -> None:
        """What Microsoft's library asks before it asks for a token."""
        base = f"https://{self.headers['Host']}/{TENANT}"
        self._answer(
            200,
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        match self.path:
            case "/":
                self._give_role(form)
            case "/token":
                right = _signed_by_us(form["assertion"])
                self._give(right, {"access_token": GRANTED, "expires_in": 3600})
            case "/v1/token":
                right = form == form | {
                    "subject_token": PROJECTED,
                    "audience": f"//iam.googleapis.com/{ACCOUNT.workload_identity_provider}",
                }
                content = {"access_token": FEDERATED, "token_type": "Bearer", "expires_in": 3600}
                self._give(right, content)
            case path if path == f"/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken":
                right = self.headers["Authorization"] == f"Bearer {FEDERATED}"
                self._give(right, {"accessToken": GRANTED, "expireTime": _soon()})
            case path if path == f"/{TENANT}/oauth2/v2.0/token":
                right = form == form | {
                    "client_assertion": PROJECTED,
                    "client_id": APPLICATION.client_id,
                }
                content = {"access_token": _azure_token(), "token_type": "Bearer"}
                self._give(right, content | {"expires_in": 3600})

    def _give_role(self, form: dict[str, str]) -> None:
        right = form == form | {"WebIdentityToken": PROJECTED, "RoleArn": ROLE.role_arn}
        text = ROLE_CREDENTIALS.format(*self.role_keys, GRANTED, _soon())
        self._send(200 if right else 400, "text/xml", text if right else ROLE_REFUSED)

    def _give(self, right: bool, content: dict[str, Any]) -> None:
        refusal = {"error": "invalid_grant", "error_description": "wrong-secret"}
        self._answer(200 if right else 400, content if right else refusal)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content))

    def _send(self, status: int, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to say."""


def _signed_by_us(assertion: str) -> bool:
    try:
        claims = jwt.decode(assertion, certs=key_pair(EMAIL)[1])  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return bool(claims["iss"] == EMAIL)


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _azure_token() -> str:
    """What azurite takes for a token of the directory: it reads the claims."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
    }
    signer = crypt.RSASigner.from_string(key_pair(TENANT)[0])  # type: ignore[no-untyped-call]
    return bytes(jwt.encode(signer, claims)).decode()  # type: ignore[no-untyped-call]
