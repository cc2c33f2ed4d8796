"""The program whose instructions are counted: one client, some answers, and nothing else.

    python -m benchmarks._instructions_program CLIENT BASE_URL MODEL STREAMS

Without a MODEL ("") the client is not even imported; with 0 STREAMS it is made and not used. It prints the number of
events, and the CPU seconds (user and system) of all answers but the first, which loads what is loaded lazily.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from urllib.parse import urlsplit


async def run(name: str, base_url: str, model: str, streams: int) -> tuple[int, float]:
    if not model:
        return 0, 0.0
    from .clients import make_client

    client = make_client(name, base_url)
    if name == "asyncllm" and not streams:  # ours makes an asyncllm.Client for the model at the first answer
        import asyncllm

        asyncllm.Client(f"openai/{model}", base_url=base_url, api_key="x")
    events, began = 0, 0.0
    for at in range(streams):
        if at == 1:
            began = time.process_time()
        stream = await client.open(model)
        if model.startswith("drip:"):
            start(base_url, model)
        events += await client.consume(stream)
    return events, time.process_time() - began


def start(base_url: str, group: str) -> None:
    """Without an HTTP client: it would be part of what is counted."""
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname, address.port)) as control:
        control.sendall(f"POST /start/{group} HTTP/1.1\r\ncontent-length: 0\r\n\r\n".encode())
        while control.recv(1000):
            pass


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        print(json.dumps(runner.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))))
