"""The FastAPI example under a real server: what a browser gets, and what happens when it goes away."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from _mcp import in_memory, nothing_left, reached
from _runs import DONE, call, calls, running_tools

from asyncllm import MCP, AuthenticationError, Client, Finish, StreamError, ToolResult, check_order, event_from_json
from asyncllm.testing import Answer, Script, Server, Wait

EXAMPLE = Path(__file__).parent.parent / "examples" / "fastapi_app.py"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def app_with(script: Script, tools: Sequence[Any]) -> AsyncIterator[tuple[httpx2.AsyncClient, Server]]:
    """A browser for the app, whose model answers from a script."""
    async with Server(script) as model:
        app = example().make_app(Client("openai-compatible/m", tools=tools, base_url=model.base_url, retry=0))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        serving = asyncio.create_task(server.serve([listener]))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=address, timeout=20, trust_env=False) as browser:
            yield browser, model
        server.should_exit = True
        await serving


def events_in(body: str) -> list[Any]:
    return [event_from_json(line[6:]) for line in body.split("\n\n") if line]


async def test_a_run_as_server_sent_events() -> None:
    """Every event of the run, results of functions and of a server included; then the stream ends."""

    async def weather(city: str) -> str:
        return f"rain in {city}"

    asked = [call(city="Oslo"), call("everyday__add", id="c2", a=1, b=2)]
    async with nothing_left(), app_with([calls(*asked), DONE], [weather, MCP(in_memory()[0])]) as (browser, model):
        answer = await browser.get("/ask", params={"question": "Rain in Oslo?"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_in(answer.text)
        check_order(events)
        assert [event.text for event in events if isinstance(event, ToolResult)] == ["rain in Oslo", "3"]
        assert isinstance(events[-1], Finish)
        assert model.requests[0].json["messages"][0]["content"] == "Rain in Oslo?"


async def test_a_failure_is_the_last_event() -> None:
    """The model refuses: the browser is told in the stream, since the answer has begun by then."""
    async with nothing_left(), app_with(Answer.error(status=401), []) as (browser, _):
        (event,) = events_in((await browser.get("/ask", params={"question": "Hi"})).text)
        assert isinstance(event, StreamError)
        assert isinstance(event.error, AuthenticationError)


@pytest.mark.req("H1")
@pytest.mark.parametrize("where", ["in a function", "at a server", "in the answer", "before the answer"])
async def test_a_browser_that_goes_away_ends_the_run(where: str) -> None:
    """In the middle of a call of a function or of an MCP server, or of an answer: the tool is cancelled, and the model's
    connection is closed."""
    begun, cancelled = asyncio.Event(), asyncio.Event()
    theirs, state = in_memory()
    wait = Wait()

    async def hang() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    scripts: dict[str, Script] = {
        "in a function": calls(call("hang"), text="Let me see."),
        "at a server": calls(call("everyday__hang"), text="Let me see."),
        "in the answer": Answer(["word", wait]),
        "before the answer": Answer([wait, "word"]),
    }
    async with nothing_left(), app_with(scripts[where], [hang, MCP(theirs)]) as (browser, model):
        going = asyncio.create_task(browser.get("/ask", params={"question": "Hi"}))
        match where:
            case "in a function":
                await begun.wait()
            case "at a server":
                await reached(state.started)
            case _:
                await wait.reached.wait()
        going.cancel()
        await asyncio.wait([going])
        if where == "in a function":
            await cancelled.wait()
        elif where == "at a server":
            await reached(state.cancelled)
        else:
            await model.wait_closed(1)
        while running_tools():
            await asyncio.sleep(0)
        assert len(model.requests) == 1
