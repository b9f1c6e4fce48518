"""A plain relay on aiohttp: parses the body, takes turns, passes chunks on. No keys, no limits."""

import argparse
import asyncio
import itertools
import json

import aiohttp
import uvloop
from aiohttp import web


async def _serve(port: int, engines: list[str]) -> None:
    turns = itertools.cycle(engines)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            json.loads(body)
            headers = {"content-type": "application/json"}
            url = f"http://{next(turns)}{request.path}"
            async with session.post(url, data=body, headers=headers) as answer:
                response = web.StreamResponse(status=answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("engines", nargs="+")
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.engines))
