"""A web endpoint that streams a run as server-sent events: `curl -N "localhost:8000/ask?question=Rain+in+Oslo"`.

In your project: `app = make_app(Client("openai/gpt-5-mini", tools=[weather]))`, and `uvicorn your_module:app`. Run as a
program, this one serves itself on a free port, asks itself once, and stops. Needs fastapi and uvicorn.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from asyncllm import (
    Client,
    LLMError,
    Run,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolResult,
    event_from_json,
    event_to_json,
)


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"4 degrees and rain in {city}"


def make_app(client: Client) -> FastAPI:
    """One client for all requests: its connections are used again, and the MCP servers among its tools stay connected."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/ask")
    async def ask(question: str) -> StreamingResponse:
        stream = client.run(question, max_steps=10, timeout=120)
        return StreamingResponse(server_sent(stream), media_type="text/event-stream")

    return app


async def server_sent(stream: Run[object]) -> AsyncIterator[bytes]:
    """The events of a run, as they come: all that arrived at once in one write.

    When the browser goes away, this is cancelled, and leaving the block cancels the run: the model stops, and the tools do.
    """
    try:
        async with stream:
            async for batch in stream.batches():
                yield b"".join(map(as_message, batch))
    except LLMError as error:  # the status line has been sent: a failure is an event like the others
        yield as_message(StreamError(error))


def as_message(event: StreamEvent) -> bytes:
    return b"data: " + event_to_json(event) + b"\n\n"


async def main(model: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/ask"
    server = uvicorn.Server(uvicorn.Config(make_app(Client(model, tools=[weather])), log_level="warning"))
    serving = asyncio.create_task(server.serve([listener]))
    question = {"question": "Do I need an umbrella in Oslo?"}
    async with httpx2.AsyncClient(timeout=60) as browser, browser.stream("GET", url, params=question) as response:
        print(response.status_code, response.headers["content-type"])
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                match event_from_json(line.removeprefix("data: ")):
                    case TextDelta(text=text):
                        print(text, end="")
                    case ToolResult() as result:
                        print(f"<- {result.text}")
                    case event:
                        print(type(event).__name__)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/tool"))
