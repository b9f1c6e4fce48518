"""Four dialects of OpenAI's API: where a request goes, and how the key is presented. Pure."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from llmcloud.api.external import External

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


@dataclass(frozen=True)
class Target:
    """An https address. `path` is a request target, with its query."""

    host: str
    port: int
    path: str


def parse_url(url: str) -> Target:
    """An https URL. ValueError if it is none."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("it is not an https address")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, parts.port or 443, path)


def target(external: External, path: str) -> Target:
    """Where a request for `path` (one of PATHS) goes."""
    return parse_url(_base(external) + path.removeprefix("/v1") + _query(external))


def key_header(external: External, key: str) -> tuple[str, str] | None:
    """How the key, or the access token got for it, is presented. None: there is none."""
    if not key:
        return None
    if external.provider == "azure-openai":
        return "api-key", key
    return "authorization", f"Bearer {key}"


def _base(external: External) -> str:
    url = (external.url or "").rstrip("/")
    if external.provider == "openai":
        return url or "https://api.openai.com/v1"
    if external.provider == "azure-openai":
        return f"{url}/openai/deployments/{quote(external.model, safe='')}"
    if external.provider == "vertex-ai":
        location = external.location
        prefix = "" if location == "global" else f"{location}-"
        host = url or f"https://{prefix}aiplatform.googleapis.com"
        return f"{host}/v1/projects/{external.project}/locations/{location}/endpoints/openapi"
    return url


def _query(external: External) -> str:
    return f"?api-version={external.api_version}" if external.api_version else ""
