"""A request on the Responses wire: every option, every kind of part, what goes back as it came, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    LLMError,
    Message,
    Part,
    ProviderState,
    RateLimitError,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from asyncllm.protocols import Encoded, OutputSchema, Request, Tool
from asyncllm.protocols.openai_responses import ResponsesCodec, ResponsesQuirks

ME = "openai-responses"
HI = Message("user", "Hi")
WEATHER = Tool("get_weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})


def encoded(*messages: Message, quirks: ResponsesQuirks | None = None, **options: Any) -> Encoded:
    return ResponsesCodec(ME, quirks).encode(Request(model="gpt-x", messages=messages or (HI,), **options))


def body(*messages: Message, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(encoded(*messages, **options).body)
    return found


def items(*messages: Message, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(*messages, **options)["input"]
    return found


def spoken(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, **more}


def own(item: dict[str, Any], provider: str = ME) -> ProviderState:
    return ProviderState(provider, {"item": item})


def turn(*parts: Part) -> Message:
    return Message("assistant", list(parts))


# ---- options


def test_a_plain_request() -> None:
    """Nothing is kept by the server, so that reasoning is asked for in the form that can be sent back."""
    sent = encoded()
    assert (sent.path, sent.method, sent.warnings) == ("/responses", "POST", ())
    assert body() == {
        "model": "gpt-x",
        "input": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_options() -> None:
    """Each under its own name."""
    sent = body(
        system="Be brief.",
        max_tokens=99,
        temperature=0.5,
        top_p=0.9,
        reasoning="high",
        output=OutputSchema("city", {"type": "object"}),
    )
    assert sent["instructions"] == "Be brief."
    assert (sent["max_output_tokens"], sent["temperature"], sent["top_p"]) == (99, 0.5, 0.9)
    assert sent["reasoning"] == {"effort": "high", "summary": "auto"}
    assert sent["text"] == {
        "format": {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
    }


@pytest.mark.parametrize(("given", "effort"), [("none", "none"), (0, "none"), (5000, "medium"), ("max", "max")])
def test_reasoning_is_an_effort(given: Any, effort: str) -> None:
    """A budget of tokens is the least effort that covers it; without reasoning there is no summary to ask for."""
    assert body(reasoning=given)["reasoning"]["effort"] == effort
    assert ("summary" in body(reasoning=given)["reasoning"]) == (effort != "none")


def test_what_the_api_does_not_have_is_a_warning() -> None:
    """Stop sequences, a seed, and the names of speakers."""
    sent = encoded(Message("user", "Hi", name="Ann"), stop=("END",), seed=7)
    assert [warning.split()[0] for warning in sent.warnings] == ["messages[0]:", "stop", "seed"]
    assert not {"stop", "seed", "name"} & set(msgspec.json.decode(sent.body))


def test_tools_are_strict_only_where_that_is_asked_for() -> None:
    """This API makes tools strict that say nothing, and optional parameters required: it is told."""
    strict = msgspec.structs.replace(WEATHER, name="b", strict=True)
    sent = body(tools=(WEATHER, strict), tool_choice="get_weather")
    assert sent["tools"][0] == {
        "type": "function",
        "name": "get_weather",
        "description": "The weather",
        "parameters": WEATHER.parameters,
        "strict": False,
    }
    assert sent["tools"][1]["strict"] is True
    assert sent["tool_choice"] == {"type": "function", "name": "get_weather"}
    assert body(tools=(WEATHER,), tool_choice="required")["tool_choice"] == "required"


def test_extra_body_is_merged() -> None:
    """It wins; objects are merged, built-in tools and includes added, and None takes a field away."""
    sent = body(
        tools=(WEATHER,),
        reasoning="low",
        extra_body={
            "tools": [{"type": "web_search"}],
            "include": ["web_search_call.action.sources", "reasoning.encrypted_content"],
            "reasoning": {"summary": "detailed"},
            "text": {"verbosity": "low"},
            "stream": None,
            "truncation": "auto",
        },
    )
    assert [tool["type"] for tool in sent["tools"]] == ["function", "web_search"]
    assert sent["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    assert sent["reasoning"] == {"effort": "low", "summary": "detailed"}
    assert (sent["text"], sent["truncation"]) == ({"verbosity": "low"}, "auto")
    assert "stream" not in sent
    assert body(tool_choice="required", extra_body={"tools": [{"type": "web_search"}]})["tool_choice"] == "required"


@pytest.mark.parametrize("given", [{"store": True}, {"store": None}, {"store": True, "background": True}])
def test_where_the_server_keeps_the_response_nothing_is_encrypted(given: dict[str, Any]) -> None:
    """`store`, also where it is left to the server, which does."""
    assert "include" not in body(extra_body=given)
    assert "include" not in body(quirks=ResponsesQuirks(store=True))
    assert body(quirks=ResponsesQuirks(store=True))["store"] is True


@pytest.mark.parametrize(
    "given", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "p"}}]
)
def test_input_may_be_with_the_server(given: dict[str, Any]) -> None:
    """Then there may be nothing to send."""
    request = Request(model="m", messages=(), extra_body=given)
    assert msgspec.json.decode(ResponsesCodec(ME).encode(request).body)["input"] == []


@pytest.mark.req("H18")
def test_a_response_can_be_read_again() -> None:
    """From its beginning, or after one of its events; nothing is asked then."""
    assert encoded(extra_body={"response_id": "resp 1"}) == Encoded(
        "/responses/resp%201?stream=true", b"", method="GET"
    )
    after = encoded(extra_body={"response_id": "resp_1", "starting_after": 7})
    assert after.path == "/responses/resp_1?stream=true&starting_after=7"


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ((), {"extra_body": {"response_id": ""}}, "response_id"),
        ((), {"extra_body": {"response_id": "r", "starting_after": "x"}}, "starting_after"),
        ((Message("user", []),), {}, r"messages\[0\] is empty"),
        ((HI, Message("user", [Image()])), {}, r"messages\[1\]: an Image needs"),
        ((Message("user", [File()]),), {}, "a File needs"),
        ((Message("user", [ToolCall("c", "f", {})]),), {}, "cannot hold ToolCall"),
        ((Message("tool", "x"),), {}, "ToolResult"),
        ((HI, turn(ToolResult("c", "f", "x"))), {}, r"messages\[1\]: results of tools"),
        ((Message("assistant", ""),), {}, "nothing to send"),
        ((), {"tool_choice": "nobody"}, "tool_choice 'nobody'"),
        ((), {"tool_choice": "required"}, "needs tools"),
        ((), {"tools": (Tool("a b"),)}, "tool name"),
        ((), {"tools": (Tool("a"), Tool("a"))}, "same name"),
    ],
)
def test_refused_before_a_byte_is_sent(messages: tuple[Message, ...], options: dict[str, Any], message: str) -> None:
    """What no server would take."""
    with pytest.raises(InvalidRequestError, match=message):
        encoded(*messages, **options)


# ---- what the user says


def test_parts_of_the_user() -> None:
    """Texts, images, files and sound."""
    parts: list[Part] = [
        Text("see"),
        Image(url="https://a.test/a.png", detail="low"),
        Image(data=b"png"),
        File(data=b"pdf", name="a.pdf"),
        File(file_id="file_1"),
        Audio(b"RIFF", "mp3"),
    ]
    assert items(Message("user", parts)) == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "https://a.test/a.png", "detail": "low"},
                {"type": "input_image", "image_url": "data:image/png;base64,cG5n"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
                {"type": "input_file", "file_id": "file_1"},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "mp3"}},
            ],
        }
    ]
    assert items(Message("system", "Be brief."), HI)[0] == {"role": "system", "content": "Be brief."}


# ---- what the model said


@pytest.mark.req("E10", "E9", "seed-E4")
def test_reasoning_goes_back_as_it_came() -> None:
    """Whole, with its id and its encrypted content, before what it led to; to another provider it does not go."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "Z0FB"}
    call = ToolCall("call_1", "f", {"a": 1}, '{"a": 1}')
    sent = items(HI, turn(Reasoning("hm", own(item)), call), Message("tool", [ToolResult("call_1", "f", "ok")]))
    assert sent[1:] == [
        item,
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
    ]
    for state in (own(item, "azure-responses"), ProviderState("anthropic", {"signature": "x"}), None):
        assert items(HI, turn(Reasoning("hm", state), Text("ok")))[1:] == [spoken("ok")]


def test_reasoning_that_led_to_nothing_is_not_sent() -> None:
    """The API refuses a reasoning item without what follows it (an answer that the limit cut)."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "Z0FB"}
    assert items(HI, turn(Reasoning("hm", own(item))), HI) == items(HI, HI)


def test_texts_of_the_model() -> None:
    """With its phase, and its id where the server kept it; plain otherwise, and not at all where there is none (B9)."""
    said = turn(Text("Wait.", own({"phase": "commentary", "id": "msg_1"})), Text("Done."), Text(""))
    assert items(HI, said)[1:] == [
        spoken("Wait.", phase="commentary", id="msg_1"),
        spoken("Done."),
    ]
    assert items(HI, Message("assistant", ""), HI) == items(HI, HI)


def test_calls_and_their_results() -> None:
    """Arguments as they were sent, invalid ones as none, ids that any provider made, and what else the call said."""
    calls: list[Part] = [
        ToolCall("toolu|1", "f", {"a": "é"}),
        ToolCall("c2", "g", None, '{"a', "cut"),
        ToolCall("c3", "h", {}, "{}", None, own({"id": "fc_3", "namespace": "n", "caller": {"type": "direct"}})),
    ]
    results: list[Part] = [
        ToolResult("toolu|1", "f", [Text("see"), Image(data=b"png")]),
        ToolResult("c2", "g", [Text("a"), Text("b")], is_error=True),
        ToolResult("c3", "h", ""),
    ]
    one, two, three, *answers = items(HI, turn(*calls), Message("tool", results))[1:]
    assert one["arguments"] == '{"a":"é"}'
    assert two["arguments"] == "{}"
    assert (three["id"], three["namespace"]) == ("fc_3", "n")
    assert answers[0]["call_id"] == one["call_id"] != "toolu|1"
    assert [part["type"] for part in answers[0]["output"]] == ["input_text", "input_image"]
    assert answers[1]["output"] == "ab"
    assert answers[2] == {
        "type": "function_call_output",
        "call_id": "c3",
        "output": "",
        "caller": {"type": "direct"},
        "namespace": "n",
    }


def test_a_custom_tool() -> None:
    """Its free text goes back as such, and its result as the result of a custom tool."""
    call = ToolCall("c", "sql", {"input": "select 1"}, '{"input":"select 1"}', None, own({"type": "custom_tool_call"}))
    assert items(HI, turn(call), Message("tool", [ToolResult("c", "sql", "1")]))[1:] == [
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "select 1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "1"},
    ]


@pytest.mark.parametrize(
    ("item", "result", "expected"),
    [
        (
            {"type": "computer_call", "call_id": "c", "action": {}},
            ToolResult("c", "computer", [Image(data=b"png")]),
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,cG5n"},
            },
        ),
        (
            {"type": "local_shell_call", "call_id": "c", "action": {}},
            ToolResult("c", "local_shell", "a.txt"),
            {"type": "local_shell_call_output", "id": "c", "output": "a.txt"},
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {}, "environment": {"type": "local"}},
            ToolResult("c", "shell", "no such file", is_error=True),
            {
                "type": "shell_call_output",
                "call_id": "c",
                "output": [{"stdout": "", "stderr": "no such file", "outcome": {"type": "exit", "exit_code": 1}}],
            },
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {}, "environment": {"type": "local"}},
            ToolResult("c", "shell", '[{"stdout":"a","stderr":"","outcome":{"type":"timeout"}}]'),
            {
                "type": "shell_call_output",
                "call_id": "c",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "timeout"}}],
            },
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {}},
            ToolResult("c", "apply_patch", "does not apply", is_error=True),
            {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "does not apply"},
        ),
        (
            {"type": "mcp_approval_request", "id": "c", "name": "rm"},
            ToolResult("c", "mcp_approval_request", "approve"),
            {"type": "mcp_approval_response", "approval_request_id": "c", "approve": True},
        ),
        (
            {"type": "mcp_approval_request", "id": "c", "name": "rm"},
            ToolResult("c", "mcp_approval_request", "rather not"),
            {"type": "mcp_approval_response", "approval_request_id": "c", "approve": False},
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {}},
            ToolResult("c", "shell", "", state=own({"type": "anything", "call_id": "c"})),
            {"type": "anything", "call_id": "c"},
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_answers_to_what_the_caller_had_to_run(
    item: dict[str, Any], result: ToolResult, expected: dict[str, Any]
) -> None:
    """The call goes back as it came, and its result as the kind of item that answers it."""
    call = ToolCall("c", result.name, {}, "", None, own(item))
    assert items(HI, turn(call), Message("tool", [result]))[1:] == [item, expected]


def test_what_the_provider_ran_goes_back_as_it_came() -> None:
    """Items of its tools, images with their bytes, and what was only kept; another provider's are left out, with a warning."""
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    image = {"id": "ig_1", "type": "image_generation_call", "status": "completed"}
    kept = {"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}
    output = {"type": "shell_call_output", "call_id": "sh_1", "output": []}

    def said(provider: str) -> Message:
        return turn(
            ToolCall("ws_1", "web_search", {}, "", None, own(search, provider), executed=True),
            ToolResult("ws_1", "web_search", "found", state=ProviderState(provider, {})),
            Image(data=b"png", state=own(image, provider)),
            ToolResult("sh_1", "shell", "a", state=own(output, provider)),
            Reasoning("", own(kept, provider)),
            Text("ok"),
        )

    encoded_image = {**image, "result": base64.b64encode(b"png").decode()}
    assert items(HI, said(ME))[1:] == [search, encoded_image, output, kept, spoken("ok")]
    sent = encoded(HI, said("another"))
    assert msgspec.json.decode(sent.body)["input"][1:] == [spoken("ok")]
    assert len(sent.warnings) == 4


# ---- dialects


@pytest.mark.req("seed-A13")
def test_the_chatgpt_dialect() -> None:
    """Instructions always, fields that it refuses never, no ids, no system messages, nothing kept."""
    from asyncllm.backends._vendors import BY_NAME

    quirks = msgspec.convert(BY_NAME["chatgpt"].quirks, ResponsesQuirks)
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"}
    sent = encoded(
        Message("system", "Be brief."),
        turn(Reasoning("", own(item)), Text("a")),
        quirks=quirks,
        max_tokens=9,
        temperature=0.5,
        top_p=0.5,
    )
    told = msgspec.json.decode(sent.body)
    assert set(told) == {"model", "input", "stream", "store", "instructions", "include"}
    assert (told["stream"], told["store"], bool(told["instructions"])) == (True, False, True)
    assert told["input"][:2] == [
        {"role": "developer", "content": "Be brief."},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
    ]
    assert [warning.split()[0] for warning in sent.warnings] == ["max_output_tokens", "temperature", "top_p"]
    assert body(quirks=quirks, system="Mine.")["instructions"] == "Mine."


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (InvalidRequestError("Encrypted content is not supported with this model.", status=400), "include"),
        (InvalidRequestError("Unsupported value: 'include'", status=400), "include"),
        (
            InvalidRequestError("Your organization must be verified to generate reasoning summaries.", status=400),
            "summary",
        ),
        (InvalidRequestError("x", status=400, body='{"error":{"param":"reasoning.summary"}}'), "summary"),
        (InvalidRequestError("temperature is not supported", status=400), None),
        (InvalidRequestError("include", status=None), None),
        (RateLimitError("include", status=429), None),
    ],
)
def test_what_a_server_refuses_is_left_out(error: LLMError, gone: str | None) -> None:
    """Encrypted reasoning, where a model has none; summaries of it, where the account may not read them."""
    other = ResponsesCodec(ME).adapted(error)
    assert (other is None) == (gone is None)
    if other is not None:
        request = Request(model="m", messages=(HI,), reasoning="low")
        sent = msgspec.json.decode(other.encode(request).body)
        assert gone not in sent
        assert gone not in sent["reasoning"]
        assert other.adapted(error) is None
