"""`python -m llmcloud_gateway.egress`: the task, wiring, signals."""

import asyncio
import json
import logging
import os
import signal
import ssl
import sys
from pathlib import Path

import uvloop
from pydantic import ValidationError

from llmcloud.api.contract import ENV_TASK, SCRATCH_PATH, ExitCode
from llmcloud.api.external import (
    EGRESS_KEY_FILE,
    EGRESS_LEASES_FILE,
    EGRESS_PORT,
    EGRESS_REPORT_PORT,
    EgressTask,
)
from llmcloud.cloud.authorities import trust_authorities
from llmcloud_gateway.egress.budget import Budget
from llmcloud_gateway.egress.handler import Egress
from llmcloud_gateway.egress.provider import networks
from llmcloud_gateway.errors import not_found
from llmcloud_gateway.limits import Limits
from llmcloud_gateway.request import Request
from llmcloud_gateway.response import Response
from llmcloud_gateway.server import Server

log = logging.getLogger("llmcloud_gateway.egress")
_TEXT = b"text/plain; charset=utf-8"


async def serve(
    task: EgressTask, key_file: Path, budget: Budget, port: int, report_port: int
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. ValueError if the task cannot be done."""
    limits = Limits()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    egress = Egress(
        task,
        key_file,
        budget,
        ssl.create_default_context(),
        networks(task.allowed_networks),
    )

    async def report(request: Request, response: Response) -> None:
        if request.target == b"/healthz":
            response.send(200, b"ok\n", _TEXT)
        elif request.target == b"/ready":
            problem = egress.problem() or ("draining" if stop.is_set() else "")
            response.send(503 if problem else 200, f"{problem or 'ready'}\n".encode(), _TEXT)
        elif request.target == b"/samples":
            response.send(200, json.dumps(budget.sample().wire()).encode())
        else:
            raise not_found(request.target.decode("latin-1"))

    reports = Server(report, limits)
    clients = Server(egress.handle, limits)
    told = await reports.start(report_port)
    log.info("Serving gateways on %d, reports on %d", await clients.start(port), told)
    await stop.wait()
    await clients.drain(task.drain_seconds)
    egress.close()
    await reports.drain(0)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        trust_authorities()
        task = EgressTask.model_validate_json(os.environ.get(ENV_TASK, ""))
        budget = Budget(
            task.external.tokens_per_day,
            Path(SCRATCH_PATH) / "tokens.json",
            Path(EGRESS_LEASES_FILE),
        )
        uvloop.run(serve(task, Path(EGRESS_KEY_FILE), budget, EGRESS_PORT, EGRESS_REPORT_PORT))
    except (ValidationError, ValueError) as error:
        log.error("%s cannot be used: %s", ENV_TASK, error)
        return ExitCode.CONFIGURATION
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
