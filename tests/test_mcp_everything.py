"""A server that nobody here wrote: npm's @modelcontextprotocol/server-everything, over its pipes and over HTTP.

Opt-in: MCP_EVERYTHING is the path of its dist/index.js; `make test-mcp` installs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from _mcp import LINUX, nothing, nothing_left, opened, processes, tools_of

from asyncllm import ConnectionFailedError, Image, Message
from asyncllm.tools import ToolError
from asyncllm.tools._mcp import MCP

SCRIPT = os.environ.get("MCP_EVERYTHING")
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.skipif(not SCRIPT, reason="MCP_EVERYTHING is not set (make test-mcp): no foreign MCP server was met"),
    pytest.mark.skipif(NODE is None, reason="Node is not installed: no foreign MCP server was met"),
]


@contextlib.asynccontextmanager
async def everything(kind: str, **options: Any) -> AsyncIterator[MCP]:
    command = [str(NODE), str(SCRIPT)]
    if kind == "stdio":
        yield MCP([*command, "stdio"], name="everything", **options)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    how = {"http": "streamableHttp", "sse": "sse"}[kind]
    quiet = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(
        *command, how, env={**os.environ, "PORT": str(port)}, stdout=quiet, stderr=quiet
    )
    try:
        yield MCP(f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}", name="everything", **options)
    finally:
        child.kill()
        await child.wait()


@pytest.mark.req("seed-E1", "seed-E2", "seed-E7")
@pytest.mark.parametrize("kind", ["stdio", "http", "sse"])
async def test_everything(kind: str) -> None:
    """Its tools, texts, images, progress, a question to the user and one to a model; and nothing is left of it."""

    async def elicit(message: str, schema: Mapping[str, object]) -> Mapping[str, object]:
        return {"name": "Bo"}

    async def sample(messages: list[Message], options: Mapping[str, Any]) -> str:
        return "from the model"

    children = processes() if LINUX else set()
    async with nothing_left(), everything(kind, elicit=elicit, sample=sample) as server:
        for _ in range(100):
            try:
                tools = await tools_of(server)
                break
            except ConnectionFailedError:
                await asyncio.sleep(0.05)
        try:
            assert await tools["echo"].run({"message": "hi"}, nothing) == "Echo: hi"
            assert "3" in str(await tools["get-sum"].run({"a": 1, "b": 2}, nothing))
            picture = await tools["get-tiny-image"].run({}, nothing)
            assert any(isinstance(part, Image) and part.data for part in picture)
            told: list[float] = []
            slow = tools["trigger-long-running-operation"]
            await slow.run({"duration": 0.2, "steps": 2}, lambda done, total, message: told.append(done))
            assert told == [1, 2]
            with pytest.raises(ToolError):
                await tools["get-sum"].run({"a": "x"}, nothing)
            assert "from the model" in str(await tools["trigger-sampling-request"].run({"prompt": "?"}, nothing))
            assert "Bo" in str(await tools["trigger-elicitation-request"].run({}, nothing))
            hanging = asyncio.ensure_future(slow.run({"duration": 60, "steps": 2}, nothing))
            async with opened(server) as again:
                assert await again["echo"].run({"message": "beside"}, nothing) == "Echo: beside"
            hanging.cancel()
            await asyncio.wait([hanging])
        finally:
            await server.release()
    if LINUX:
        assert processes() <= children
