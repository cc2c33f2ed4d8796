"""The embedded default: a model that needs no key and no network, and says what it is."""

from __future__ import annotations

import asyncio
import gc

import pytest

from asyncllm import Client, InvalidRequestError, LLMError, NotFoundError, ReasoningDelta, SyncClient, Tool, check_order


async def test_echo_says_that_it_is_a_demo() -> None:
    """The first sentence says it plainly; the answer comes in pieces, with usage marked as counted in words."""
    async with Client("demo/echo") as client, client.stream("Hello there") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    check_order(events)
    assert "demo" in reply.text.split(".")[0]
    assert "not a model" in reply.text
    assert "Hello there" in reply.text
    assert reply.usage is not None
    assert reply.usage.estimated


async def test_the_other_demo_models() -> None:
    """Reasoning, a tool call, an error midway: what one wants to see without a key."""
    async with Client("demo/reason") as client, client.stream("Hi") as stream:
        assert any([isinstance(event, ReasoningDelta) async for event in stream])
    tool = Tool(
        "weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    )
    async with Client("demo/tool") as client:
        (call,) = (await client.complete("Rain in Oslo?", tools=[tool])).tool_calls
        assert call.arguments is not None
        assert "city" in call.arguments
    async with Client("demo/error", retry=0) as client:
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text


async def test_an_unknown_demo_model_is_not_found() -> None:
    """A misspelt model is refused as a real server would."""
    async with Client("demo/nothing") as client:
        with pytest.raises(NotFoundError):
            await client.complete("Hi")
    with pytest.raises(InvalidRequestError):
        Client("demo/")


async def test_many_at_once_start_one_server() -> None:
    """Concurrent first calls share the server that the first of them starts."""
    async with Client("demo/echo") as client:
        replies = await asyncio.gather(*(client.complete(f"number {at}") for at in range(20)))
    assert [f"number {at}" in reply.text for at, reply in enumerate(replies)] == [True] * 20


@pytest.mark.req("H8")
def test_one_demo_client_under_several_loops() -> None:
    """Each loop has its own server, which ends with it: nothing is left to warn about."""
    client = Client("demo/echo")

    async def ask() -> str:
        return (await client.complete("Hi")).text

    assert all("Hi" in asyncio.run(ask()) for _ in range(2))
    asyncio.run(client.aclose())
    gc.collect()


def test_blocking_callers_have_it_too() -> None:
    """The facade closes the server with the client."""
    with SyncClient("demo/echo") as client:
        assert "Hi" in client.complete("Hi").text
    gc.collect()


async def test_a_proxy_is_not_asked_for_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY leads out of the machine; the demo is in the process."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with Client("demo/echo", retry=0) as client:
        assert "Hi" in (await client.complete("Hi")).text
