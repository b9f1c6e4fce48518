"""What a pod answers while it works: /progress (JSON), /healthz, /metrics (Prometheus)."""

from llmcloud.api.contract import Progress
from llmcloud.cloud.telling import JSON, TEXT, Answer, tell


class Report:
    """The pod's live progress and the server that shows it; port 0 takes a free one.

    `publish` is safe in any thread.
    """

    def __init__(self, progress: Progress, port: int) -> None:
        self._progress = progress
        self._server = tell(
            {
                "/progress": lambda: Answer(
                    self._progress.model_dump_json(by_alias=True, exclude_none=True), JSON
                ),
                "/metrics": lambda: Answer(metrics_text(self._progress)),
                "/healthz": lambda: Answer("ok\n", TEXT),
            },
            port,
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def progress(self) -> Progress:
        return self._progress

    def publish(self, progress: Progress) -> None:
        """Replace the whole progress."""
        self._progress = progress

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def metrics_text(progress: Progress) -> str:
    """Prometheus text: every number of the progress as a gauge `llmcloud_progress_NAME`."""
    numbers = progress.model_dump(
        exclude={"phase", "checkpoint", "spent", "note"}, exclude_none=True
    )
    if progress.spent is not None:
        numbers |= progress.spent.model_dump()
    lines = []
    for name, value in numbers.items():
        lines += [f"# TYPE llmcloud_progress_{name} gauge", f"llmcloud_progress_{name} {value}"]
    return "\n".join(lines) + "\n"
