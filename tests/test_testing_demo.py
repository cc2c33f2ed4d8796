"""The demo models, the server's command line, and what the package imports."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from _serving import HELLO, asking, said, serving

import asyncllm.testing
from asyncllm.testing import (
    demo_server,
)
from asyncllm.testing.__main__ import main, serve
from asyncllm.testing._demo import example
from asyncllm.testing._script import words


async def demo_reply(model: str, **body: object) -> dict[str, Any]:
    async with serving() as (_, client):
        response = await client.request(**asking(stream=False, model=model, **body))
        return response.json()  # type: ignore[no-any-return]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo models without their pace."""
    monkeypatch.setattr("asyncllm.testing._demo.WORD_SECONDS", 0)
    monkeypatch.setattr("asyncllm.testing._demo.SLOW_SECONDS", 0)


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("model", ["echo", "demo/echo", "demo/slow"])
async def test_demo_echo(model: str) -> None:
    """It says first that it is no model, then what the user said; its usage is marked as counted."""
    reply = await demo_reply(model, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi you"}]}])
    assert reply["choices"][0]["message"]["content"] == "This is a demo, not a model. You said: Hi you"
    assert reply["usage"]["estimated"] is True


@pytest.mark.usefixtures("_quick")
async def test_demo_story_and_reason() -> None:
    """A fixed text; and reasoning before an answer."""
    assert "stream" in (await demo_reply("demo/story"))["choices"][0]["message"]["content"]
    message = (await demo_reply("demo/reason"))["choices"][0]["message"]
    assert "'Hi'" in message["reasoning_content"]
    assert message["content"].startswith("This is a demo")


@pytest.mark.usefixtures("_quick")
async def test_demo_tool() -> None:
    """It calls the first tool with arguments made from its schema, and answers with the result."""
    reply = await demo_reply("demo/tool", tools=[WEATHER])
    (call,) = reply["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"demo"}'}
    history = [*HELLO, reply["choices"][0]["message"], {"role": "tool", "tool_call_id": call["id"], "content": "rain"}]
    assert (await demo_reply("demo/tool", tools=[WEATHER], messages=history))["choices"][0]["message"][
        "content"
    ].endswith("The tool said: rain")
    for tools in ({"tools": [WEATHER], "tool_choice": "none"}, {}):
        assert "No tool" in (await demo_reply("demo/tool", **tools))["choices"][0]["message"]["content"]


@pytest.mark.usefixtures("_quick")
async def test_demo_error() -> None:
    """It fails midway through a stream, with an error that may be retried."""
    async with serving() as (_, client):
        chunks = said((await client.request(**asking(model="demo/error"))).text)
    assert len(chunks) > 2
    assert chunks[-1]["error"]["code"] == "overloaded"


@pytest.mark.usefixtures("_quick")
async def test_demo_limits_schemas_and_unknown_models() -> None:
    """max_tokens cuts, a JSON schema is satisfied, an unknown model is not found, a bad role is refused."""
    cut = (await demo_reply("demo/story", max_tokens=3))["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("Once there was", "length")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    made = await demo_reply(
        "demo/echo", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
    assert json.loads(made["choices"][0]["message"]["content"]) == {"n": 1}
    assert (await demo_reply("demo/gpt"))["error"]["code"] == "model_not_found"
    assert "role" in (await demo_reply("demo/echo", messages=[{"role": "critic"}]))["error"]["message"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["b"]},
            {"b": None},
        ),
        (
            {"properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 3}, "c": {"default": []}}},
            {"a": "x", "b": 3, "c": []},
        ),
        ({"type": "array", "items": {"type": "number", "minimum": 2.5}, "minItems": 2}, [2.5, 2.5]),
        ({"type": ["boolean", "null"]}, True),
        ({"anyOf": [{"type": "string", "minLength": 6, "maxLength": 6}, {"type": "null"}]}, "demooo"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "maximum": 0}}}, 0),
        ({"properties": {"a": {}}}, {"a": "demo"}),
    ],
)
def test_examples_of_json_schemas(schema: dict[str, Any], value: object) -> None:
    """The usual parts of JSON Schema give a value that satisfies them."""
    assert example(schema) == value


def test_an_endless_schema_ends() -> None:
    """A schema that contains itself is followed only so deep."""
    assert '"next": null' in json.dumps(example({"properties": {"next": {"$ref": "#"}}}))


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n\nc ", "\n"])
def test_words_add_up(text: str) -> None:
    """The pieces of a text are the text."""
    assert "".join(words(text)) == text


async def test_a_demo_server_with_one_model() -> None:
    """demo_server() is started, and may answer with one model whatever is asked for."""
    server = await demo_server("demo/story")
    try:
        async with httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            asked = asking(stream=False, model="gpt-5", max_tokens=1)
            assert (await client.request(**asked)).json()["choices"][0]["message"]["content"] == "Once"
    finally:
        await server.aclose()


async def test_the_command_serves_until_it_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its URL, serves, and is gone afterwards."""
    stop = asyncio.Event()
    stop.set()
    await serve("demo/echo", "127.0.0.1", 0, stop)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\nmodels: demo/echo .*\n", capsys.readouterr().out)


def test_the_command_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port, host and model reach the server; an unknown model is refused."""
    seen: list[object] = []

    async def fake(model: str | None, host: str, port: int, stop: asyncio.Event) -> None:
        seen.extend([model, host, port])
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncllm.testing.__main__.serve", fake)
    assert main(["--port", "8081", "--model", "demo/echo"]) == 0
    assert seen == ["demo/echo", "127.0.0.1", 8081]
    with pytest.raises(SystemExit):
        main(["--model", "gpt"])


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing on Windows")
def test_python_m_ends_quietly_with_ctrl_c() -> None:
    """`python -m asyncllm.testing` serves a request and exits with 0, without a traceback, on SIGINT."""
    command = [sys.executable, "-m", "asyncllm.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert httpx2.get(f"{url}/models", trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait(10) == 0


@pytest.mark.req("F6")
def test_the_pytest_plugin_imports_nothing() -> None:
    """Loading the plugin, as every pytest run does, loads neither the server nor any dependency of it."""
    heavy = "('httptools', 'httpx2', 'msgspec', 'anyio', 'asyncllm.events', 'asyncllm.testing._server')"
    code = f"import pytest, sys, asyncllm.testing.pytest_plugin; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_every_public_name_is_there() -> None:
    """The lazy names are all importable, listed, and nothing else is."""
    for name in asyncllm.testing.__all__:
        assert getattr(asyncllm.testing, name) is not None
    assert dir(asyncllm.testing) == sorted(asyncllm.testing.__all__)
    assert set(asyncllm.testing._HOME) == set(asyncllm.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asyncllm.testing.nothing  # type: ignore[attr-defined]
