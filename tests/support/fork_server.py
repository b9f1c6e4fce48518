"""Runs in the runtime image: loads the trainer's libraries once, then forks a process per request.

A request is a line of stdin, {"module", "arguments", "environment", "log"}; stdout says {"pid"} of
each in turn, and {"pid", "code"} when one ended. All are killed when stdin ends.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import sys
from typing import Any

from llmcloud_runtime.resources import prepare_process

LOADED = ("evaluation", "losses", "metrics", "preparation", "publication", "training", "watch")
"""Modules of the runtime that bring in all of torch, transformers and peft that a trainer needs."""


def serve(answers: int) -> dict[str, Any] | None:
    """In a forked process its request; None at the end of stdin."""
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid = running.pop(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    _say(answers, pid=pid, code=code)
                elif line := _line():
                    pid = os.fork()
                    if pid == 0:
                        return dict(json.loads(line))
                    process = os.pidfd_open(pid)
                    running[process] = pid
                    selector.register(process, selectors.EVENT_READ)
                    _say(answers, pid=pid)
                else:
                    for pid in running.values():
                        os.kill(pid, signal.SIGKILL)
                    return None


def become(request: dict[str, Any]) -> None:
    """Be what `python -m` would be."""
    with open(request["log"], "ab") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))  # to clear up takes a second, and what is frozen seems leaked


def _line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):  # none is read ahead of a fork
        line += byte
    return bytes(line)


def _say(answers: int, **members: int) -> None:
    os.write(answers, json.dumps(members).encode() + b"\n")


if __name__ == "__main__":
    prepare_process()
    for name in LOADED:
        __import__(f"llmcloud_runtime.{name}")
    gc.freeze()  # collections of forked processes would read and copy all that is loaded
    words = os.dup(1)  # not inherited by what a forked process executes
    os.dup2(2, 1)
    asked = serve(words)
    if asked is None:
        os._exit(0)
    os.close(words)
    become(asked)
