"""A server of the mcp package, with a tool for everything that a result can be. Run as a script, it speaks on its pipes."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import threading
import warnings
from typing import Any

from mcp import types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Weather(BaseModel):
    degrees: int
    sky: str


class Name(BaseModel):
    name: str


class State:
    """What tests wait for and look at, from any thread."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)


def make(name: str = "everyday") -> tuple[MCPServer, State]:
    server, state = MCPServer(name, log_level="CRITICAL"), State()

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Adds."""
        state.calls.append("add")
        return a + b

    @server.tool()
    async def weather(city: str) -> Weather:
        return Weather(degrees=21, sky=f"sunny in {city}")

    @server.tool()
    async def refuse() -> str:
        raise ToolError("no such city")

    @server.tool()
    async def crash() -> str:
        raise ValueError("an inner secret")

    @server.tool()
    async def hang() -> str:
        state.calls.append("hang")
        state.started.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            state.cancelled.release()
            raise
        return "never"

    @server.tool()
    async def steps(ctx: Context[Any, Any]) -> str:
        for at in range(3):
            await ctx.report_progress(at + 1, 3, f"step {at + 1}")
        return "done"

    @server.tool()
    async def ask(ctx: Context[Any, Any]) -> str:
        answer = await ctx.elicit("Who are you?", Name)
        return f"hello {answer.data.name}" if answer.action == "accept" else answer.action

    @server.tool()
    async def ask_url(ctx: Context[Any, Any]) -> str:
        answer = await ctx.elicit_url("Sign in", "https://example.com/login", "1")
        return answer.action

    @server.tool()
    async def think(ctx: Context[Any, Any]) -> str:
        content = types.TextContent(text="2 + 2?")
        with warnings.catch_warnings(action="ignore"):
            said = await ctx.session.create_message(
                [types.SamplingMessage(role="user", content=content)], max_tokens=7, system_prompt="Be short."
            )
        return f"{said.model}: {said.content.text} ({said.stop_reason})"

    @server.tool()
    async def show() -> list[Any]:
        data = base64.b64encode(PNG).decode()
        return [
            types.TextContent(text="one"),
            types.TextContent(text="two"),
            types.ImageContent(data=data, mime_type="image/png"),
            types.AudioContent(data=data, mime_type="audio/wav"),
        ]

    @server.tool()
    async def cut(ctx: Context[Any, Any]) -> str:
        """Ends the stream of its answer before the answer, which waits for whoever asks for it."""
        await ctx.close_sse_stream()
        return "after the cut"

    @server.tool()
    async def leave() -> str:
        os._exit(3)

    return server, state


if __name__ == "__main__":
    if sys.argv[1:2] == ["sse"]:
        make()[0].run("sse", port=int(sys.argv[2]))
    elif sys.argv[1:]:
        make()[0].run("streamable-http", port=int(sys.argv[2]))
    else:
        make()[0].run()
