"""Every other item and event of the Responses API: the provider's own tools, images, sound, and the unknown."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from _decoding import raws_of
from _responses import CREATED, Event, added, built_in, delta, done, ended, events_of, message, said

from asyncllm.events import Audio, Finish, Image, Reasoning, StreamStart, ToolCall, ToolResult, fold

# ---- the provider's own tools

PNG = b"\x89PNG not really"


@pytest.mark.parametrize(
    ("item", "name", "arguments", "result"),
    [
        (
            built_in("web_search_call", action={"type": "search", "query": "x"}),
            "web_search",
            {"type": "search", "query": "x"},
            None,
        ),
        (
            built_in(
                "web_search_call", action={"type": "search", "sources": [{"type": "url", "url": "https://a.test"}]}
            ),
            "web_search",
            {"type": "search", "sources": [{"type": "url", "url": "https://a.test"}]},
            "https://a.test",
        ),
        (
            built_in("file_search_call", queries=["q"], results=[{"filename": "a.md", "text": "hi", "score": 1}]),
            "file_search",
            {"queries": ["q"]},
            "a.md: hi",
        ),
        (built_in("file_search_call", queries=["q"], results=None), "file_search", {"queries": ["q"]}, None),
        (
            built_in("code_interpreter_call", code="1+1", container_id="c", outputs=[{"type": "logs", "logs": "2"}]),
            "code_interpreter",
            {"code": "1+1"},
            "2",
        ),
        (
            built_in(
                "code_interpreter_call",
                code="p",
                container_id="c",
                outputs=[{"type": "image", "url": "https://i.test"}],
            ),
            "code_interpreter",
            {"code": "p"},
            [Image(url="https://i.test")],
        ),
        (
            built_in("mcp_call", name="add", server_label="s", arguments='{"a":1}', output="3"),
            "add",
            {"a": 1},
            "3",
        ),
        (built_in("tool_search_call", arguments={"q": 1}, execution="server"), "tool_search", {"q": 1}, None),
        (
            built_in(
                "shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "container_reference"}
            ),
            "shell",
            {"commands": ["ls"]},
            None,
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_tools_that_the_provider_runs(item: Event, name: str, arguments: Event, result: Any) -> None:
    """A call that is not the caller's to answer, its result where the item has one, and the item for replay."""
    reply = said(added(0, {**item, "status": "in_progress"}), done(0, item), done(1, message("ok", id="msg_2")))
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"
    call, *rest = reply.message.parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, call.executed) == (name, arguments, True)
    assert call.state is not None
    assert call.state.data == {"item": item}
    results = [part for part in rest if isinstance(part, ToolResult)]
    assert [part.content for part in results] == ([] if result is None else [result])
    assert all(part.id == call.id and not part.is_error for part in results)


@pytest.mark.parametrize(
    "item",
    [
        built_in("mcp_call", name="add", arguments="{}", error={"type": "http_error", "code": 500, "message": "broke"}),
        built_in("image_generation_call", status="failed", result=None, error={"message": "broke"}),
        built_in("web_search_call", status="failed", action={"type": "search"}),
    ],
    ids=lambda item: item["type"],
)
def test_a_tool_of_the_provider_that_failed(item: Event) -> None:
    """Its result says so."""
    (result,) = [part for part in said(done(0, item)).message.parts if isinstance(part, ToolResult)]
    assert result.is_error
    assert "broke" in result.text or "failed" in result.text


@pytest.mark.parametrize(
    ("item", "name", "id"),
    [
        (built_in("computer_call", call_id="cu_1", action={"type": "screenshot"}), "computer", "cu_1"),
        (
            built_in("local_shell_call", call_id="ls_1", action={"type": "exec", "command": ["ls"]}),
            "local_shell",
            "ls_1",
        ),
        (
            built_in("shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "local"}),
            "shell",
            "sh_1",
        ),
        (
            built_in("apply_patch_call", call_id="ap_1", operation={"type": "delete_file", "path": "a"}),
            "apply_patch",
            "ap_1",
        ),
        (built_in("mcp_approval_request", name="rm", server_label="s", arguments="{}"), "mcp_approval_request", "it_1"),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_tools_that_the_caller_has_to_run(item: Event, name: str, id: str) -> None:
    """A computer, a local shell, a patch, an approval: nothing goes on before they are answered, so they are plain calls."""
    reply = said(done(0, item))
    (call,) = reply.tool_calls
    assert (call.name, call.id, call.executed, call.invalid) == (name, id, False, None)
    assert reply.finish_reason == "tool_calls"


def test_the_output_of_a_hosted_shell_is_its_result() -> None:
    """An item of its own, which goes back as it came."""
    call = built_in(
        "shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "container_reference"}
    )
    output = built_in("shell_call_output", call_id="sh_1", output=[{"stdout": "a\n", "stderr": "", "outcome": {}}])
    _, result = said(done(0, call), done(1, output)).message.parts
    assert isinstance(result, ToolResult)
    assert (result.id, result.text) == ("sh_1", "a\n")
    assert result.state is not None
    assert result.state.data == {"item": output}


def test_an_image_that_the_model_made() -> None:
    """Its bytes once, and the rest of its item beside them; partial images are for who asks for raw events."""
    item = built_in(
        "image_generation_call", result=base64.b64encode(PNG).decode(), output_format="jpeg", revised_prompt="a cat"
    )
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": "AAAA"}
    (image,) = said(partial, done(0, item)).message.parts
    assert isinstance(image, Image)
    assert (image.data, image.media_type) == (PNG, "image/jpeg")
    assert image.state is not None
    assert image.state.data == {"item": {key: value for key, value in item.items() if key != "result"}}
    assert {**partial, "sequence_number": 1} in raws_of(events_of(CREATED, partial, ended(), raw=True))


# ---- the unknown, sound, progress


@pytest.mark.req("G4")
@pytest.mark.parametrize("kind", ["compaction", "mcp_list_tools", "program", "tool_search_output", "hologram"])
def test_items_that_are_not_understood_are_kept(kind: str) -> None:
    """They say nothing, and go back as they came, from their place in the turn."""
    item = {"id": "x_1", "type": kind, "encrypted_content": "abc", "anything": [1]}
    reply = said(added(0, item), done(0, item), done(1, message("ok")))
    assert (reply.text, reply.reasoning) == ("ok", "")
    first = reply.message.parts[0]
    assert isinstance(first, Reasoning)
    assert first.state is not None
    assert (first.text, first.state.data) == ("", {"item": item})


def test_sound_and_its_transcript() -> None:
    """Pieces of sound are one event; the transcript is the text."""
    pieces = [base64.b64encode(part).decode() for part in (b"RI", b"FF")]
    frames = [{"type": "response.audio.delta", "delta": piece} for piece in pieces]
    words = [{"type": "response.audio.transcript.delta", "delta": word} for word in ("Hel", "lo")]
    ends = [{"type": "response.audio.done"}, {"type": "response.audio.transcript.done"}]
    reply = said(*frames, *words, *ends)
    assert reply.text == "Hello"
    assert [part for part in reply.message.parts if isinstance(part, Audio)] == [Audio(b"RIFF")]


PROGRESS = [
    "web_search_call.searching",
    "code_interpreter_call_code.delta",
    "mcp_call_arguments.delta",
    "shell_call_command.added",
    "compaction.compacting",
]


@pytest.mark.req("G4")
def test_progress_and_the_unknown_say_nothing() -> None:
    """Events of tools under way are in their item again; unknown ones, and keep-alives, are raw events."""
    known = [{"type": f"response.{kind}", "output_index": 0, "item_id": "x", "delta": "?"} for kind in PROGRESS]
    output = {"type": "response.shell_call_output_content.delta", "output_index": 0, "delta": {"stdout": "a"}}
    odd = [{"type": "response.new.delta", "delta": "?"}, {"type": "keepalive"}, {"type": "response.hologram", "x": 1}]
    assert [type(event) for event in events_of(CREATED, *known, output, *odd, ended())] == [StreamStart, Finish]
    raw = raws_of(events_of(CREATED, *known, output, *odd, ended(), raw=True))
    assert [event["type"] for event in raw if isinstance(event, dict)] == [event["type"] for event in odd]


@pytest.mark.req("G4")
def test_token_probabilities_are_raw_events() -> None:
    """Fields that are not understood come with their event, where raw events are wanted."""
    frame = delta("output_text", "a", logprobs=[{"token": "a", "logprob": -1}], content_index=0)
    events = events_of(CREATED, frame, delta("output_text", "b", logprobs=[]), ended(), raw=True)
    assert len(raws_of(events)) == 1
    assert fold(events).text == "ab"
