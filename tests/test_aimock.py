"""A server that nobody here wrote: aimock (npm, @copilotkit/aimock) speaks all of our wires from one file of fixtures.

make test-aimock        installs it with npm and runs this; without it these tests are skipped
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from asyncllm import Client, LLMError, RateLimitError, ToolResult, check_order
from asyncllm.events import Finish, Message
from asyncllm.protocols import Tool

THOUGHT = {"content": "Thought it over.", "reasoning": "First this, then that."}
FIXTURES = {
    "fixtures": [
        {"match": {"userMessage": "fail"}, "response": {"error": {"message": "slow down"}, "status": 429}},
        {
            "match": {"userMessage": "think"},
            "response": {"content": "Thought it over.", "reasoning": "First this, then that."},
        },
        {"match": {"hasToolResult": True}, "response": {"content": "It is 21 degrees."}},
        {
            "match": {"toolName": "get_weather"},
            "response": {"toolCalls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]},
        },
        {"match": {"userMessage": "hello"}, "response": {"content": "Hello! How can I help you today? 🎉"}},
    ]
}
WEATHER = Tool("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})

PROVIDERS = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta",
    "bedrock": "",
    "ollama-native": "",
}
each_provider = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    node, script = shutil.which("node"), os.environ.get("AIMOCK")
    if node is None or script is None:
        pytest.skip("aimock is not installed (make test-aimock): nothing here met it")
    folder: Path = tmp_path_factory.mktemp("aimock")
    (folder / "fixtures.json").write_text(json.dumps(FIXTURES))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        node,
        str(Path(script).resolve()),
        "-p",
        str(port),
        "-f",
        str(folder / "fixtures.json"),
        "--log-level",
        "silent",
        "-c",
        "7",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + 30
    while process.poll() is None and monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            sleep(0.05)
        else:
            return
    raise RuntimeError(f"aimock does not answer (exit code {process.poll()})")


@pytest.fixture
async def client(aimock: str, provider: str) -> AsyncIterator[Client]:
    async with Client(
        f"{provider}/any-model", base_url=aimock + PROVIDERS[provider], api_key="any", retry=0, timeout=30
    ) as made:
        yield made


@each_provider
async def test_text(client: Client, provider: str) -> None:
    """A text in pieces, in a legal order, with its finish and its usage."""
    async with client.stream("hello") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    check_order(events)
    assert reply.text == "Hello! How can I help you today? 🎉"
    assert sum(type(event).__name__ == "TextDelta" for event in events) > 1
    assert isinstance(events[-1], Finish)
    assert reply.finish_reason == "stop"
    assert reply.usage is not None


@each_provider
async def test_a_tool_and_its_result(client: Client, provider: str) -> None:
    """The call with its arguments, and the answer to its result."""
    asked = await client.complete("weather in Oslo?", tools=[WEATHER])
    (call,) = asked.tool_calls
    assert (call.name, call.arguments, call.invalid) == ("get_weather", {"city": "Oslo"}, None)
    assert asked.finish_reason == "tool_calls"
    result = Message("tool", [ToolResult(call.id, call.name, "21 degrees")])
    answered = await client.complete([*asked.messages, result], tools=[WEATHER])
    assert answered.text == "It is 21 degrees."


@each_provider
async def test_an_error(client: Client, provider: str) -> None:
    """HTTP 429, in each wire's form."""
    with pytest.raises(LLMError) as caught:
        await client.complete("fail")
    assert isinstance(caught.value, RateLimitError)
    assert caught.value.status == 429


@pytest.mark.parametrize(
    "provider", ["openai", "openai-responses", "anthropic", "gemini"]
)  # it has none for the others
async def test_reasoning(client: Client, provider: str) -> None:
    """Reasoning apart from the text."""
    reply = await client.complete("think")
    assert (reply.reasoning, reply.text) == (THOUGHT["reasoning"], THOUGHT["content"])
