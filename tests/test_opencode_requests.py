"""What opencode is told: prompts, command lines, its configuration."""

from __future__ import annotations

from typing import Any

import pytest

from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Session,
    Text,
)
from asyncllm.protocols import OutputSchema, Request
from asyncllm.protocols.agents._turn import turn_of
from asyncllm.protocols.opencode._config import (
    READ_ONLY,
    Access,
    configuration,
    merged,
    model_of,
    permissions,
    provider_entry,
    session_rules,
)
from asyncllm.protocols.opencode._request import check, prompt, run_arguments, run_prompt

pytestmark = pytest.mark.req("seed-A11")


def request(**more: Any) -> Request:
    return Request(**{"model": "p/m", "messages": (Message("user", "Hi"),), **more})


def test_prompt() -> None:
    image, pdf = Image(data=b"x"), File(data=b"y", name="a.pdf")
    asked = request(
        messages=(Message("system", "Be terse."), Message("user", [Text("See"), image, pdf])),
        output=OutputSchema("x", {"type": "object"}),
        reasoning="high",
    )
    body = prompt(turn_of(asked, "opencode"), agent="plan", variant="low")
    assert body["model"] == {"providerID": "p", "modelID": "m"}
    assert [p["type"] for p in body["parts"]] == ["text", "file", "file"]
    assert body["parts"][1]["url"].startswith("data:image/png;base64,")
    assert (body["parts"][2]["filename"], body["system"], body["agent"]) == ("a.pdf", "Be terse.", "plan")
    assert (body["variant"], body["format"]["type"]) == ("high", "json_schema")
    bare = prompt(turn_of(request(model=""), "opencode"), agent=None, variant="low")
    assert bare == {"parts": [{"type": "text", "text": "Hi"}], "variant": "low"}
    with pytest.raises(InvalidRequestError):
        prompt(turn_of(request(messages=(Message("user", [Audio(b"x")]),)), "opencode"), agent=None, variant=None)


def test_what_cannot_be_done() -> None:
    for more in ({"tool_choice": "required"}, {"extra_headers": {"a": "b"}}, {"extra_body": {"a": 1}}):
        with pytest.raises(InvalidRequestError):
            check(request(**more))
    assert len(check(request(max_tokens=5, reasoning=1000))) == 2
    assert check(request(tool_choice="none")) == ()
    for name in ("m", "p/", "/m"):
        with pytest.raises(InvalidRequestError):
            model_of(name)
    assert model_of("openrouter/a/b") == ("openrouter", "a/b")


def test_prompts_are_not_on_the_command_line() -> None:
    turn = turn_of(request(system="a secret system", messages=(Message("user", "a secret"),)), "opencode")
    session = Session(backend="opencode", id="ses_9", fork=True)
    arguments = run_arguments(turn, session=session, agent="x", variant="high", title="T")
    assert arguments == [
        *("run", "--format", "json", "--thinking", "--model", "p/m"),
        *("--session", "ses_9", "--fork", "--agent", "x", "--variant", "high"),
    ]
    assert run_prompt(turn) == "a secret"
    assert "--format" not in run_arguments(turn, session=None, agent=None, variant=None, title="T", plain=True)
    with pytest.raises(InvalidRequestError):
        run_prompt(turn_of(request(messages=(Message("user", [Image(data=b"x")]),)), "opencode"))
    schema = run_prompt(turn_of(request(output=OutputSchema("x", {"type": "object"})), "opencode"))
    assert '"type":"object"' in schema


def test_by_default_it_may_only_look() -> None:
    rules = permissions(None, None, ["/other"], ["calc"])
    assert rules["*"] == "deny"
    assert {rules[name] for name in ("bash", "edit", "webfetch", "websearch", "question")} == {"deny"}
    assert rules["calc_*"] == "allow"
    assert rules["external_directory"] == {"*": "deny", "/other": "allow", "/other/**": "allow"}
    assert next(iter(rules)) == "*", "the last rule that fits counts"
    assert set(permissions(None, ()).values()) == {"deny"}
    assert [name for name, rule in permissions(None, ("bash",)).items() if rule == "allow"] == ["bash"]
    assert permissions("allow", None) == {"*": "allow"}
    assert permissions({"bash": "ask"}, ("bash",))["edit"] == "deny"
    assert READ_ONLY["read"] != "deny"
    assert [rule["permission"] for rule in session_rules(3, {})] == ["asyncllm*", "StructuredOutput", "asyncllm3_*"]


def test_configuration() -> None:
    access = Access("p", "m", "http://x/v1", "sk-1", {"a": "b"})
    config = configuration(
        rules={"*": "deny"}, servers={"calc": {"type": "remote"}}, access=access, more={"permission": {"x": "allow"}}
    )
    assert config["provider"]["p"]["npm"] == "@ai-sdk/openai-compatible"
    assert config["provider"]["p"]["options"] == {"baseURL": "http://x/v1", "apiKey": "sk-1", "headers": {"a": "b"}}
    assert "m" in config["provider"]["p"]["models"]
    assert config["permission"] == {"*": "deny", "x": "allow"}
    assert "npm" not in provider_entry(Access("anthropic", "m", "http://x/v1", None))["anthropic"]  # type: ignore[operator]
    assert provider_entry(Access("q", "m", None, "k")) == {"q": {"options": {"apiKey": "k"}}}
    assert merged({"a": {"b": 1}, "c": 1}, {"a": {"d": 2}, "c": 2}) == {"a": {"b": 1, "d": 2}, "c": 2}
