"""An engine that speaks what sidecars ask, as vLLM 0.33 does, and refuses all else."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "wiki"


@dataclass
class LoraEngine:
    """Serves `wiki`, and adapters of which there is a folder with an adapter_config.json."""

    answered: frozenset[str] = frozenset({"/v1/completions"})
    health: int = 200
    asked: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    served: dict[str, str] = field(default_factory=dict)
    server: ThreadingHTTPServer | None = None

    def start(self, port: int = 0) -> "LoraEngine":
        """Serve, with nothing loaded."""
        self.served = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(self.server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        if path == "/health":
            return self.health, {}
        if path != "/v1/models":
            return 404, {}
        adapters = [{"id": name, "root": root} for name, root in self.served.items()]
        return 200, {"data": [{"id": MODEL, "root": f"/models/{MODEL}"}, *adapters]}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        self.asked.append(path)
        match path:
            case "/v1/load_lora_adapter":
                return self._load(**body)
            case "/v1/unload_lora_adapter":
                return self._unload(**body)
        return (200 if path in self.answered and body["model"] == MODEL else 400), {}

    def _load(self, lora_name: str, lora_path: str, load_inplace: bool = False) -> tuple[int, Any]:
        self.loads.append(lora_name)
        if lora_name in self.served and not load_inplace:
            return 400, _error(f"The lora adapter '{lora_name}' has already been loaded.")
        if not (Path(lora_path) / "adapter_config.json").exists():
            return 404, _error(f"No adapter found for {lora_path}")
        self.served[lora_name] = lora_path
        return 200, {}

    def _unload(self, lora_name: str) -> tuple[int, Any]:
        if self.served.pop(lora_name, None) is None:
            return 404, _error(f"The lora adapter '{lora_name}' cannot be found.")
        return 200, {}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "code": 400}}


def _handler(engine: LoraEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*engine.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*engine.post(self.path, body))

        def _answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
