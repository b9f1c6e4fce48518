"""A token endpoint of our own, on loopback: it checks what it is presented and gives a token.

It speaks the exchange that a service account's key takes part in: a signed assertion for a token.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

EMAIL = "trainer@team-a.iam.gserviceaccount.com"


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
            "token_uri": token_url,
        }
    )


@contextmanager
def token_endpoint() -> Iterator[str]:
    """The endpoint's URL while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if _signed_by_us(form.get("assertion", "")):
            self._answer(200, {"access_token": "granted", "expires_in": 3600})
        else:
            self._answer(400, {"error": "invalid_grant", "error_description": "wrong-secret"})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
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
