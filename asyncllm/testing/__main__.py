"""`python -m asyncllm.testing --port 8080`: the demo models behind the OpenAI chat wire, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

from ._demo import DEMO_MODELS, demo_server


async def serve(model: str | None, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until `stop`; says where on standard output, first."""
    server = await demo_server(model, host=host, port=port)
    try:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.write(f"models: {model or ', '.join(DEMO_MODELS)} (demos, not models); Ctrl-C ends\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await server.aclose()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m asyncllm.testing", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 is any free one (default: %(default)s)")
    parser.add_argument("--model", choices=DEMO_MODELS, help="answer with this model, whichever is asked for")
    chosen = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(chosen.model, chosen.host, chosen.port, asyncio.Event()))
    return 0


if __name__ == "__main__":  # pragma: no cover  # in a process of its own
    sys.exit(main())
