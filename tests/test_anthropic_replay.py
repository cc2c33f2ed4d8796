"""What the Messages API wants back: thinking, its own tools' blocks, cited text, byte for byte, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from _anthropic import (
    CASE,
    PROVIDER,
    begun,
    block,
    body,
    call_block,
    encoded,
    ended,
    events_of,
    reply_of,
    sent_back,
    text_block,
    thinking_block,
    wire,
)
from _decoding import calls_of

from asyncllm.events import (
    Citation,
    File,
    Message,
    ProviderState,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.protocols import Request
from asyncllm.protocols.openai_chat import ChatCodec

SEARCH = call_block(0, "srvtoolu_1", "web_search", '{"query":', ' "rain"}', kind="server_tool_use")
FOUND = {
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://rain.test/",
            "title": "Rain",
            "encrypted_content": "EqgfCioIARgB",
            "page_age": None,
        }
    ],
}
CITED = {
    "type": "web_search_result_location",
    "url": "https://rain.test/",
    "title": "Rain",
    "cited_text": "It rains.",
    "encrypted_index": "Eo8BCioIAhgB",
}


@pytest.mark.req("E7", "seed-E4")
def test_thinking_goes_back_byte_for_byte() -> None:
    """Signed, omitted and redacted thinking between calls: the same blocks in the same order; what was not signed is left."""
    reply = reply_of(
        begun(),
        thinking_block(0, "Plan ", "it.\n\u2028é 👩‍🚀", signature="c2lnMQ=="),
        block(1, "redacted_thinking", data="ZW5j"),
        text_block(2, "Looking."),
        thinking_block(3, "unsigned"),
        thinking_block(4, signature="c2lnMg=="),
        call_block(5, "toolu_1", "f", '{"a": 1}'),
        thinking_block(6, "more", signature="c2lnMw=="),
        call_block(7, "toolu_2", "g"),
        ended("tool_use"),
    )
    assert sent_back(reply) == [
        {"type": "thinking", "thinking": "Plan it.\n\u2028é 👩‍🚀", "signature": "c2lnMQ=="},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "Looking."},
        {"type": "thinking", "thinking": "", "signature": "c2lnMg=="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        {"type": "thinking", "thinking": "more", "signature": "c2lnMw=="},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]


@pytest.mark.req("E7", "E9")
def test_thinking_goes_to_nobody_else() -> None:
    """Another provider is sent the text and the calls alone, and our API nothing of another's thoughts."""
    reply = reply_of(
        begun(),
        thinking_block(0, "a", signature="s"),
        block(1, "redacted_thinking", data="r"),
        text_block(2, "b"),
        ended(),
    )
    assert sent_back(reply, provider="other") == [{"type": "text", "text": "b"}]
    foreign = [
        Reasoning("x", ProviderState("openai", {"encrypted_content": "y"})),
        Reasoning("z"),
        Reasoning("blank", ProviderState(PROVIDER, {"signature": ""})),
    ]
    assert body(Message("user", "Hi"), Message("assistant", [*foreign, Text("b")]))["messages"][1] == {
        "role": "assistant",
        "content": "b",
    }


@pytest.mark.req("E7")
def test_thinking_that_was_cut_is_not_sent_back() -> None:
    """A stream that broke before the signature: the partial reply is sent without its thought."""
    partial = fold(CASE.decode(wire(begun(), thinking_block(0, "a", "b")[:3])))
    assert partial.reasoning == "ab"
    assert sent_back(partial) == []


def test_a_search_and_its_sources() -> None:
    """The provider's own tool: a call that is executed, its result in the same turn, text with citations and their place."""
    found = events_of(
        begun(),
        SEARCH,
        block(1, "web_search_tool_result", **FOUND),
        text_block(2, "So: "),
        block(
            3,
            "text",
            {"type": "citations_delta", "citation": CITED},
            {"type": "text_delta", "text": "it rains"},
            text="",
            citations=[],
        ),
        text_block(4, "."),
        ended(),
    )
    check_order(found)
    (call,) = calls_of(found)
    assert (call.id, call.name, call.arguments, call.executed) == ("srvtoolu_1", "web_search", {"query": "rain"}, True)
    reply = fold(found)
    assert reply.tool_calls == []
    assert reply.citations == [Citation("https://rain.test/", "Rain", 4, 12, "It rains.", CITED)]
    assert [type(part) for part in reply.message.parts] == [ToolCall, ToolResult, Text, Text, Text]
    result = reply.message.parts[1]
    assert isinstance(result, ToolResult)
    assert (result.id, result.name, result.text) == ("srvtoolu_1", "web_search", "Rain\nhttps://rain.test/")
    assert len(reply.messages) == 1
    assert sent_back(reply) == [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}},
        {"type": "web_search_tool_result", **FOUND},
        {"type": "text", "text": "So: "},
        {"type": "text", "text": "it rains", "citations": [CITED]},
        {"type": "text", "text": "."},
    ]


RESULTS: list[tuple[str, Any, str, bool]] = [
    (
        "web_search",
        {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        "max_uses_exceeded",
        True,
    ),
    (
        "web_fetch",
        {
            "type": "web_fetch_result",
            "url": "https://a.test",
            "content": {"type": "document", "title": "A", "source": {"type": "text", "data": "page"}},
        },
        "https://a.test\nA\npage",
        False,
    ),
    (
        "web_fetch",
        {"type": "web_fetch_result", "url": "u", "content": {"source": {"type": "base64", "data": "JVBERi0="}}},
        "u",
        False,
    ),
    (
        "code_execution",
        {
            "type": "code_execution_result",
            "stdout": "4\n",
            "stderr": "",
            "return_code": 0,
            "content": [{"type": "code_execution_output", "file_id": "file_1"}],
        },
        "4\n\nfile_1",
        False,
    ),
    (
        "tool_search",
        {"type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": "f"}]},
        "f",
        False,
    ),
    ("mcp", "plain", "plain", False),
    ("mcp", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb", False),
    ("advisor", None, "", False),
]


@pytest.mark.parametrize(("kind", "content", "text", "failed"), RESULTS)
def test_results_of_every_tool_of_the_provider(kind: str, content: Any, text: str, failed: bool) -> None:
    """Readable as text, an error where it is one, and verbatim in the next request."""
    use = "mcp_tool_use" if kind == "mcp" else "server_tool_use"
    fields = {"tool_use_id": "srv_1", "content": content}
    reply = reply_of(
        begun(),
        call_block(0, "srv_1", kind, "{}", kind=use, server_name="s"),
        block(1, f"{kind}_tool_result", **fields),
        ended(),
    )
    (result,) = (part for part in reply.message.parts if isinstance(part, ToolResult))
    assert (result.text, result.is_error, result.name) == (text, failed, kind)
    assert sent_back(reply) == [
        {"type": use, "id": "srv_1", "name": kind, "input": {}, "server_name": "s"},
        {"type": f"{kind}_tool_result", **fields},
    ]


def test_a_paused_turn_goes_on() -> None:
    """`pause_turn`: the turn is sent back as it is, and what comes next, a result first, goes on with it."""
    paused = reply_of(
        begun(), text_block(0, "Let me see."), [{**part, "index": 1} for part in SEARCH], ended("pause_turn")
    )
    assert (paused.finish_reason, paused.raw_finish_reason) == ("other", "pause_turn")
    question = Message("user", "Rain?")
    turns = body(question, paused.message)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]
    assert turns[1]["content"][-1]["type"] == "server_tool_use"
    rest = reply_of(begun(), block(0, "web_search_tool_result", **FOUND), text_block(1, "It rains."), ended())
    assert [type(part) for part in rest.message.parts] == [ToolResult, Text]
    kinds = [
        item["type"]
        for item in body(question, paused.message, rest.message, Message("user", "Sure?"))["messages"][1]["content"]
    ]
    assert kinds == ["text", "server_tool_use", "web_search_tool_result", "text"]
    chat = ChatCodec("openai").encode(Request(model="m", messages=(question, paused.message, rest.message)))
    assert b"srvtoolu" not in chat.body
    assert chat.warnings


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("compaction", {"content": "So far: ...", "encrypted_content": "ZW5j", "signature": "s"}),
        ("fallback", {"from": {"model": "a"}, "to": {"model": "b"}, "trigger": {"type": "refusal", "category": None}}),
        ("mcp_tool_listing", {"mcp_server_name": "s", "tools": []}),
        ("container_upload", {"file_id": "file_1"}),
        ("hologram", {"data": {"x": [1]}}),
    ],
)
def test_blocks_that_must_go_back(kind: str, fields: dict[str, Any]) -> None:
    """They say nothing to the reader, and are in the next request as they came, for nobody else."""
    reply = reply_of(begun(), block(0, kind, **fields), text_block(1, "ok"), ended())
    assert (reply.text, reply.reasoning) == ("ok", "")
    assert sent_back(reply) == [{"type": kind, **fields}, {"type": "text", "text": "ok"}]
    assert sent_back(reply, provider="other") == [{"type": "text", "text": "ok"}]


def test_a_compaction_in_deltas() -> None:
    """Its delta replaces what the start had not yet."""
    delta = {"type": "compaction_delta", "content": "So far", "encrypted_content": None}
    reply = reply_of(begun(), block(0, "compaction", delta, content=None), text_block(1, "ok"), ended("compaction"))
    assert sent_back(reply)[0] == {"type": "compaction", "content": "So far"}


def test_a_new_block_with_new_deltas_is_not_sent_back() -> None:
    """Half of it would be refused."""
    reply = reply_of(begun(), block(0, "hologram", {"type": "photon_delta", "x": 1}), text_block(1, "ok"), ended())
    assert sent_back(reply) == [{"type": "text", "text": "ok"}]


def test_a_file_that_the_model_made() -> None:
    """It is an event and a part, with the id under which it can be fetched."""
    reply = reply_of(begun(), block(0, "container_upload", file_id="file_1"), ended())
    (part,) = reply.message.parts
    assert isinstance(part, File)
    assert part.file_id == "file_1"


def test_who_called_goes_back_with_the_call() -> None:
    """The caller of a call made from code, and the toolset of one, which its result names, too."""
    reply = reply_of(
        begun(), call_block(0, "toolu_1", "f", caller={"type": "direct"}, toolset_name="computer"), ended("tool_use")
    )
    result = Message("tool", [ToolResult("toolu_1", "f", "ok")])
    _, turn, answer = body(Message("user", "Hi"), reply.message, result)["messages"]
    assert turn["content"][0]["caller"] == {"type": "direct"}
    assert turn["content"][0]["toolset_name"] == answer["content"][0]["toolset_name"] == "computer"


@pytest.mark.req("E9")
def test_what_another_provider_ran_is_left_out() -> None:
    """Its executed call, the result of it and an image it made: a warning each, the text goes on."""
    state = ProviderState("openai", {"item": {"id": "ws_1"}})
    turn = Message(
        "assistant",
        [
            ToolCall("ws_1", "web_search", {}, state=state, executed=True),
            ToolResult("ws_1", "web_search", "found", state=state),
            Text("So."),
        ],
    )
    sent = encoded(Message("user", "Hi"), turn)
    assert b"ws_1" not in sent.body
    assert len(sent.warnings) == 2
    assert all(warning.startswith("messages[1]") for warning in sent.warnings)


def test_a_result_whose_call_is_not_there_is_left_out() -> None:
    """A history that was cut between them: the API would refuse the result alone."""
    reply = reply_of(begun(), block(0, "web_search_tool_result", **FOUND), text_block(1, "ok"), ended())
    assert sent_back(reply) == [{"type": "text", "text": "ok"}]


def test_citations_of_documents() -> None:
    """Every kind of place names its source and quotes it."""
    for kind, more in (
        ("char_location", {"document_index": 0, "document_title": "Doc", "start_char_index": 0, "end_char_index": 3}),
        ("page_location", {"document_index": 0, "document_title": "Doc", "start_page_number": 1}),
        ("search_result_location", {"source": "https://s.test", "title": "Doc"}),
    ):
        raw = {"type": kind, "cited_text": "abc", **more}
        reply = reply_of(begun(), text_block(0, "x", citations=[raw]), ended())
        (citation,) = reply.citations
        assert (citation.title, citation.quote, citation.raw) == ("Doc", "abc", raw)
        assert (citation.start, citation.end) == (0, 1)


def test_citations_of_a_stream_that_broke() -> None:
    """They are said; the text is sent back without them, for they were not all."""
    frames = block(0, "text", {"type": "text_delta", "text": "x"}, text="", citations=[CITED], stop=False)
    reply = fold(CASE.decode(wire(begun(), frames)))
    assert len(reply.citations) == 1
    assert reply.message.content == "x"
