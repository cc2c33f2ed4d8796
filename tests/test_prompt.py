"""`prompt`: one result of one shape whatever the backend, with what it took, as text and in a log."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _runs import DONE, call, calls, serving

from asyncllm import (
    AuthenticationError,
    Client,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    Message,
    QueryResult,
    RefusalDelta,
    RetryPolicy,
    Tool,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, ErrorAfter, Server

FAST = RetryPolicy(tries=1, base=0.001)


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


LOOK = calls(call(city="Oslo"), text="Let me look.")


# ---- the result


@pytest.mark.req("seed-F1", "seed-F4", "seed-E6", "seed-F8")
async def test_the_result_of_a_prompt() -> None:
    """The text, how it ended, the whole reply, and what it took."""
    async with serving([LOOK, DONE]) as (server, client):
        assert client.last_metadata is None
        result = await client.prompt("Weather in Oslo?", tools=[weather])
        assert client.last_metadata is result.metadata
        assert len(server.requests) == 2
    assert isinstance(result, QueryResult)
    assert (result.result, result.returncode, result.stderr, result.success) == ("It is 21 degrees.", 0, "", True)
    assert (result.error, result.output) == (None, None)
    reply, facts = result.stream_result, result.metadata
    assert (reply.text, reply.finish_reason, reply.steps) == ("It is 21 degrees.", "stop", 2)
    assert [message.role for message in reply.messages] == ["user", "assistant", "tool", "assistant"]
    assert result.messages == reply.messages
    assert (facts.model, facts.backend) == ("m", "openai-compatible")
    assert facts.tools == {"weather": 1}
    assert (facts.turns, facts.attempts, facts.finish_reason, facts.stopped) == (2, 1, "stop", None)
    assert facts.usage == reply.usage
    assert facts.usage is not None
    assert facts.usage.total_tokens > 0
    assert facts.duration > 0


CALLED = [
    Usage(input_tokens=100, output_tokens=20, cache_read_tokens=50, reasoning_tokens=5, cost=0.25),
    call(city="Oslo"),
]
SAID = [Usage(input_tokens=130, output_tokens=7, cache_read_tokens=90, reasoning_tokens=2, cost=0.5), "Warm."]


@pytest.mark.req("seed-F4", "seed-E6")
async def test_tokens_and_cost_are_summed() -> None:
    """Input, output, cache, reasoning and cost of all turns."""
    async with serving([Answer(CALLED), Answer(SAID)]) as (_, client):
        usage = (await client.prompt("Weather?", tools=[weather])).metadata.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (230, 27)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (140, 7)
    assert usage.cost == 0.75


@pytest.mark.req("seed-F1", "seed-D")
@pytest.mark.parametrize(
    "model",
    [
        "openai-compatible/m",
        "anthropic/claude-sonnet-5",
        "gemini/gemini-3-flash",
        "ollama-native/llama3.2",
        "openai-responses/gpt-5",
        "bedrock/amazon.nova-lite-v1:0",
    ],
)
async def test_the_same_shape_for_every_backend(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool, a failure after it and the answer: the same result on every wire."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    called: list[str] = []

    async def look(city: str) -> str:
        called.append(city)
        return f"21 degrees in {city}"

    script = [calls(call("look", city="Oslo")), Answer.error(status=500), DONE]
    async with Server(script) as server, Client(model, base_url=server.base_url, api_key="any", retry=FAST) as client:
        result = await client.prompt("Weather in Oslo?", tools=[look])
    assert (result.result, result.returncode, result.stderr, result.success) == ("It is 21 degrees.", 0, "", True)
    assert called == ["Oslo"]
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]
    facts = result.metadata
    assert facts.backend == model.partition("/")[0]
    assert (facts.tools, facts.turns, facts.attempts, facts.finish_reason) == ({"look": 1}, 2, 2, "stop")
    assert "[Tool Call: look] " in result.transcript


@dataclass
class City:
    name: str
    inhabitants: int


OSLO = '{"name": "Oslo", "inhabitants": 700000}'


@pytest.mark.req("seed-F1")
async def test_a_typed_output() -> None:
    """`output=` gives the object, beside its text; after tools, too."""
    async with serving([LOOK, Answer.text(OSLO)]) as (_, client):
        result = await client.prompt("Oslo?", tools=[weather], output=City)
    assert result.output == City("Oslo", 700000)
    assert result.stream_result.output == result.output
    assert json.loads(result.result)["name"] == "Oslo"


@pytest.mark.req("seed-F1")
async def test_the_shape_of_a_failure_is_the_same() -> None:
    """-1, no success, the error in words without secrets, and what there was."""
    key = "-".join(("sk", "proj", "Zz9" * 9))
    failed = Answer(["one", "two"], faults=[ErrorAfter(1, IncompleteStreamError(f"broke for {key}"))])
    async with serving(failed) as (_, client):
        result = await client.prompt("Hi")
        assert client.last_metadata is result.metadata
    assert (result.result, result.returncode, result.success) == ("one", -1, False)
    assert "broke for" in result.stderr
    assert key not in result.stderr
    assert result.error is not None
    assert result.error.__traceback__ is None
    assert [message.role for message in result.messages] == ["user", "assistant"]


async def test_a_result_can_be_sent_elsewhere() -> None:
    """Pickled, it comes back the same, the error of a failure included."""
    async with serving([LOOK, DONE, Answer.error(status=500)]) as (_, client):
        for question in ("Weather?", "Again?"):
            result = await client.prompt(question, tools=[weather])
            back = pickle.loads(pickle.dumps(result))
            assert (back.result, back.metadata, back.messages) == (result.result, result.metadata, result.messages)
            assert repr(back.error) == repr(result.error)


@pytest.mark.req("seed-E5")
async def test_a_prompt_that_was_stopped() -> None:
    """It did as it was told, and says that it was not done; its messages go on."""
    async with serving([LOOK, DONE]) as (_, client):
        result = await client.prompt("Weather?", tools=[weather], max_steps=1)
        assert (result.success, result.returncode, result.metadata.stopped) == (True, 0, "max_steps")
        more = await client.prompt(result.stream_result.messages, tools=[weather])
    assert more.result == "It is 21 degrees."


async def test_calls_for_the_caller() -> None:
    """A tool that only the caller can execute ends the prompt, with its call in the reply."""
    ask = Tool("ask_user", "Ask.", {"type": "object"})
    async with serving([calls(call("ask_user", id="q")), DONE]) as (_, client):
        result = await client.prompt("Hi", tools=[ask])
        assert result.metadata.stopped == "needs_results"
        (waiting,) = result.stream_result.tool_calls
        answered = [*result.stream_result.messages, ToolResult(waiting.id, "ask_user", "Yes")]
        assert (await client.prompt(answered, tools=[ask])).success


async def test_a_refusal_is_the_result() -> None:
    """What the model says instead of an answer is what it says."""
    async with serving(Answer([RefusalDelta("I cannot help with that."), Finish("stop")])) as (_, client):
        result = await client.prompt("Hi")
    assert (result.success, result.result) == (True, "I cannot help with that.")


# ---- what it is given


@pytest.mark.req("seed-F7", "seed-F1")
async def test_options_of_the_client_and_of_the_call() -> None:
    """16000 tokens unless one of them says; the system message, the temperature and the rest as in any call."""
    async with serving(DONE, system="Be brief.", temperature=0.5) as (server, client):
        await client.prompt("Hi")
        await client.prompt("Hi", max_tokens=5, system="Be long.", temperature=1)
        await client.prompt("Hi", max_tokens=None)
        await client.complete("Hi")
        sent = [request.json for request in server.requests]
    limits = [body.get("max_tokens", body.get("max_completion_tokens")) for body in sent]
    assert limits == [16000, 5, None, None]
    assert [body["messages"][0]["content"] for body in sent] == ["Be brief.", "Be long.", "Be brief.", "Be brief."]
    assert [body["temperature"] for body in sent] == [0.5, 1, 0.5, 0.5]
    async with serving(DONE, max_tokens=77) as (server, client):
        await client.prompt("Hi")
        assert 77 in server.requests[0].json.values()


async def test_a_conversation() -> None:
    """Messages of ours and dicts, as in `run`; `result.messages` are those of this call."""
    async with serving([LOOK, DONE]) as (server, client):
        history = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            Message("assistant", "Hi!"),
            Message("user", "Weather in Oslo?"),
        ]
        result = await client.prompt(history, tools=[weather])
    assert len(server.requests[0].json["messages"]) == 4
    assert [message.role for message in result.stream_result.messages][:3] == ["system", "user", "assistant"]
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]
    assert result.messages[0].text == "Weather in Oslo?"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_event": 5}, "on_event"),
        ({"log_dir": 5}, "log_dir"),
        ({"log_dir": ""}, "log_dir"),
        ({"dump_failed": 5}, "dump_failed"),
        ({"retry": -1}, "retry"),
        ({"retry": "2"}, "retry"),
        ({"max_steps": 0}, "max_steps"),
        ({"temprature": 1}, "temprature"),
        ({"tools": [5]}, "tools"),
    ],
)
async def test_what_makes_no_sense_is_told_before_anything_is_sent(options: dict[str, Any], said: str) -> None:
    """InvalidRequestError, with the name of the option."""
    async with serving(DONE) as (server, client):
        with pytest.raises(InvalidRequestError, match=said):
            await client.prompt("Hi", **options)
        with pytest.raises(InvalidRequestError):
            await client.prompt([])
        assert server.requests == []
    if "log_dir" in options:
        with pytest.raises(InvalidRequestError, match=said):
            Client("demo/echo", **options)


# ---- transcript and log


TURN = """\
[User Message]
Weather in Oslo?

[Response]
Let me look.

[Tool Call: weather] {"city": "Oslo"}

[Tool Result: weather]
21 degrees in Oslo

[Response]
It is 21 degrees.
"""


@pytest.mark.req("seed-E8")
async def test_a_readable_transcript() -> None:
    """What was asked, called, told and answered."""
    async with serving([LOOK, DONE]) as (_, client):
        result = await client.prompt("Weather in Oslo?", tools=[weather])
    assert result.transcript == TURN


@pytest.mark.req("seed-E8", "seed-F7")
async def test_a_log_of_all_prompts(tmp_path: Path) -> None:
    """Each adds its transcript, with when, whom and how it ended; errors that are raised, too."""
    folder = tmp_path / "log"
    failing = [Answer.error(status=500, message="oh\n\x1b[31mno"), Answer.error(status=401)]
    async with serving([LOOK, DONE, *failing, DONE], log_dir=folder) as (_, client):
        await client.prompt("Weather in Oslo?", tools=[weather])
        await client.prompt("Second?")
        with pytest.raises(AuthenticationError):
            await client.prompt("Third?")
        await client.prompt("Fourth?", log_dir=None)
        await client.prompt("Fifth?", log_dir=tmp_path / "other")
    (path,) = folder.iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log = path.read_text()
    assert TURN in log
    heads = [line for line in log.splitlines() if line.startswith("==== ")]
    assert ["done" in heads[0], "failed" in heads[1], "failed" in heads[2]] == [True] * 3
    assert "openai-compatible/m" in heads[0]
    assert "2 turns" in heads[0]
    assert "[Error] ServerError: " in log
    assert "[Error] AuthenticationError: " in log
    assert "\x1b" not in log
    assert "Fourth" not in log
    (other,) = (tmp_path / "other").iterdir()
    assert "Fifth?" in other.read_text()


async def test_a_long_conversation_is_not_logged_anew(tmp_path: Path) -> None:
    """Each call logs itself, so that a chat's log grows with what is said."""
    async with serving(DONE, log_dir=tmp_path) as (_, client):
        first = await client.prompt("First?")
        await client.prompt([*first.stream_result.messages, Message("user", "Second?")])
    (path,) = tmp_path.iterdir()
    assert path.read_text().count("First?") == path.read_text().count("Second?") == 1


async def test_a_log_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is what matters; why it is not in the log is logged, below the one name for all of it."""
    in_the_way = tmp_path / "log"
    in_the_way.write_text("a file")
    async with serving(DONE, log_dir=in_the_way) as (_, client):
        with caplog.at_level(logging.WARNING, "asyncllm"):
            result = await client.prompt("Hi")
    assert result.success
    assert "could not be added to the log" in caplog.text
    assert all(record.name.startswith("asyncllm.") for record in caplog.records)
