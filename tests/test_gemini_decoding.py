"""What Gemini's servers say besides plain text: blocks, calls, signatures, code, media, sources, errors in every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _decoding import calls_of, failure, merged, raws_of, single_bytes
from _wirecase import WireCase, check_cuts, check_truncations, sse_borders
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    AuthenticationError,
    BillingError,
    ContentBlockedError,
    ContextLengthExceededError,
    File,
    Finish,
    Image,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    Reasoning,
    ServerError,
    StreamError,
    StreamEvent,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    fold,
)
from asyncllm.protocols import classify_response
from asyncllm.protocols.gemini import GeminiCodec
from asyncllm.protocols.gemini._citations import byte_offset, character_offsets

GEMINI = WireCase("gemini", lambda: GeminiCodec("gemini"), sse_borders)


def chunk(*parts: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with one candidate; a string is a text part. `more` goes into the candidate."""
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate: dict[str, Any] = {"index": 0, **more}
    if said:
        candidate["content"] = {"role": "model", "parts": said}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-w", "responseId": "r1"}


def body_of(*frames: Any) -> bytes:
    """As the API frames it; bytes stand as they are."""
    return b"".join(
        frame if isinstance(frame, bytes) else b"data: " + json.dumps(frame).encode() + b"\r\n\r\n" for frame in frames
    )


def events_of(*frames: Any, **options: Any) -> list[StreamEvent]:
    """The events, which must be the same byte by byte."""
    body = body_of(*frames)
    events = GEMINI.decode(body, **options)
    assert timeless(GEMINI.decode_pieces(single_bytes(body), **options)) == timeless(events)
    return events


def timeless(events: list[StreamEvent]) -> list[object]:
    """Without the time at which a limit ends, which is counted from now."""
    said = merged(events)
    for item in said:
        if isinstance(item, tuple) and isinstance(item[-1], dict):
            item[-1].pop("reset_time", None)
    return said


def call(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


STOP = chunk(finish="STOP")

# ---- blocked


@pytest.mark.req("seed-A6")
@pytest.mark.parametrize(
    "reason",
    ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "NEW_WORD"],
)
def test_a_blocked_prompt_is_an_error(reason: str) -> None:
    """Its reason is kept, its tokens are counted, and it is not worth another try."""
    feedback = {
        "promptFeedback": {"blockReason": reason, "blockReasonMessage": "not this"},
        "usageMetadata": {"promptTokenCount": 4},
    }
    events = events_of(feedback)
    error = failure(events)
    assert isinstance(error, ContentBlockedError)
    assert (error.block_reason, error.message, error.retryable) == (reason, "not this", False)
    assert any(isinstance(event, Usage) and event.input_tokens == 4 for event in events)


BLOCKS = ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR", "LANGUAGE"] + [
    f"IMAGE_{word}" for word in ("SAFETY", "PROHIBITED_CONTENT", "RECITATION", "OTHER")
]


@pytest.mark.req("seed-A6")
@pytest.mark.parametrize("reason", BLOCKS)
@pytest.mark.parametrize(
    "before", [[], [chunk({"text": "hm", "thought": True})], [chunk("")]], ids=["", "thought", "empty"]
)
def test_an_answer_blocked_before_it_began_is_an_error(reason: str, before: list[Any]) -> None:
    """An empty success would be a lie: without a word of the answer the block is an error with its reason."""
    error = failure(events_of(*before, chunk(finish=reason, finishMessage="why")))
    assert isinstance(error, ContentBlockedError)
    assert (error.block_reason, error.message, error.retryable) == (reason, "why", False)


@pytest.mark.req("B6")
@pytest.mark.parametrize("reason", BLOCKS)
def test_an_answer_blocked_in_its_middle_is_a_finish(reason: str) -> None:
    """What was said stands, and the finish says that a filter ended it, and why."""
    ratings = [{"category": "HARM_CATEGORY_HARASSMENT", "blocked": True}]
    events = events_of(chunk("Par"), chunk(finish=reason, safetyRatings=ratings))
    assert fold(events).text == "Par"
    assert events[-1] == Finish("content_filter", reason, {"safetyRatings": ratings})


# ---- how it ends


@pytest.mark.req("B6", "G6")
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("TOO_MANY_TOOL_CALLS", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("MALFORMED_RESPONSE", "error"),
        ("OTHER", "other"),
        ("NO_IMAGE", "other"),
        ("ESCALATION", "other"),
        ("PUP_LIMITED_DISABLED", "other"),
        ("CONTINUATION", "other"),
        ("FINISH_REASON_UNSPECIFIED", "other"),
        ("A_WORD_OF_TOMORROW", "other"),
    ],
)
def test_finish_reasons(word: str, reason: str) -> None:
    """Each word has a meaning, and is kept; a candidate without content or parts is none the worse."""
    assert events_of(chunk(finish=word))[-1] == Finish(reason, word)  # type: ignore[arg-type]
    assert events_of({"candidates": [{"content": {"role": "model"}, "finishReason": word}]})[-1] == Finish(reason, word)  # type: ignore[arg-type]


@pytest.mark.req("G6")
def test_a_malformed_call_keeps_what_the_server_says() -> None:
    """The message has the call as the model wrote it."""
    events = events_of(chunk(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: print(1)"))
    assert events[-1] == Finish(
        "error", "MALFORMED_FUNCTION_CALL", {"finishMessage": "Malformed function call: print(1)"}
    )


@pytest.mark.req("B3", "B4", "F1")
def test_usage_after_the_end_and_an_end_said_twice() -> None:
    """One Finish; the last count is the one that counts, and it is said once."""
    events = events_of(
        {**chunk("a"), "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}},
        {**STOP, "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}},
        STOP,
        {
            "usageMetadata": {
                "promptTokenCount": 3,
                "candidatesTokenCount": 2,
                "toolUsePromptTokenCount": 5,
                "thoughtsTokenCount": 7,
            }
        },
    )
    assert sum(isinstance(event, Finish) for event in events) == 1
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (8, 9, 7)


@pytest.mark.req("B4", "B5")
def test_a_server_that_says_stop_with_every_chunk() -> None:
    """Content after the end goes on, and such a server's end is that of its bytes alone."""
    codec = GeminiCodec("gemini")
    assert (
        fold(events_of(chunk("a", finish="STOP"), chunk("b", finish="STOP"), chunk("c", finish="STOP"))).text == "abc"
    )
    decoder = codec.decoder(GEMINI.request, codec.encode(_asking()))
    framer = GEMINI.make_framer()
    decoder.decode(framer.feed(body_of(chunk("a", finish="STOP"))))
    assert decoder.ending
    decoder.decode(framer.feed(body_of(chunk("b", finish="STOP"))))
    assert not decoder.ending
    unsaid = "FINISH_REASON_UNSPECIFIED"
    events = events_of(chunk("a", finish=unsaid), chunk("b", finish=""), chunk("c", finish="MAX_TOKENS"))
    assert events[-1] == Finish("length", "MAX_TOKENS")
    assert isinstance(failure(events_of(chunk("a", finish=unsaid), chunk("b"))), IncompleteStreamError)


def _asking() -> Any:
    from asyncllm.events import Message
    from asyncllm.protocols import Request

    return Request(model="m", messages=(Message("user", "Hi"),))


@pytest.mark.req("G10", "B1")
def test_done_ends_nothing_that_is_not_done() -> None:
    """`[DONE]`, which proxies add, is no end by itself."""
    assert isinstance(events_of(chunk("a"), STOP, b"data: [DONE]\n\n")[-1], Finish)
    assert isinstance(failure(events_of(chunk("a"), b"data: [DONE]\n\n")), IncompleteStreamError)


# ---- calls


@pytest.mark.req("G7", "B8", "D11")
def test_calls_without_ids_are_told_apart() -> None:
    """Several in one chunk, of one name: ids of ours, the same for the same bytes, and in no state."""
    events = events_of(chunk(call(args={"a": "é"}), call(args={"a": 2}), call("g")), STOP)
    calls = calls_of(events)
    assert [(one.name, one.raw_arguments) for one in calls] == [("f", '{"a":"é"}'), ("f", '{"a":2}'), ("g", "{}")]
    assert len({one.id for one in calls}) == 3
    assert all(one.id.startswith("call_") and one.state is None for one in calls)
    again = calls_of(events_of(chunk(call(args={"a": "é"}), call(args={"a": 2}), call("g")), STOP))
    assert [one.id for one in again] == [one.id for one in calls]
    assert events[-1] == Finish("tool_calls", "STOP")


def test_one_id_for_two_calls() -> None:
    """The second gets another, for its result must find it; what goes back is the one that was given."""
    first, second = calls_of(events_of(chunk(call(id="c"), call("g", id="c")), STOP))
    assert first.id == "c" != second.id
    assert second.state is not None
    assert second.state.data == {"id": "c"}


def pieces(*partial: Any, goes_on: bool = True, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {**more, "partialArgs": list(partial)} if partial else dict(more)
    return {"functionCall": {**body, "willContinue": True} if goes_on else body}


def arg(path: str, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value}


STREAMED = [
    chunk({**pieces(name="f", id="c1"), "thoughtSignature": "c2ln"}),
    chunk(pieces(arg("$.city", stringValue="New ", willContinue=True))),
    chunk(pieces(arg("$.city", stringValue='"De\\lhi"', willContinue=True))),
    chunk(pieces(arg("$.city", stringValue=""), arg("$.days", numberValue=3), arg("$.deep.list[0]", boolValue=True))),
    chunk(pieces(arg("$.deep.list[1].x", nullValue="NULL_VALUE"), arg("$['a b']", nullValue=None))),
    chunk(pieces(goes_on=False)),
]
WHOLE = {"city": 'New "De\\lhi"', "days": 3, "deep": {"list": [True, {"x": None}]}, "a b": None}


@pytest.mark.req("G7")
def test_arguments_in_pieces_with_their_paths() -> None:
    """They become fragments of JSON that add up to the arguments; the empty piece ends the call."""
    events = events_of(*STREAMED, STOP)
    (one,) = calls_of(events)
    assert one.arguments == WHOLE
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(delta.arguments for delta in deltas) == one.raw_arguments
    assert json.loads(one.raw_arguments) == WHOLE
    assert len(deltas) >= 5
    assert one.state is not None
    assert one.state.data == {"id": "c1", "thoughtSignature": "c2ln"}
    assert {(delta.index, delta.id, delta.name) for delta in deltas} == {(0, "c1", "f")}


@pytest.mark.req("G7", "B9")
def test_a_call_that_was_cut_is_never_valid(tmp_path: Path) -> None:
    """Wherever the bytes end; and a limit that came in its middle makes it invalid, too."""
    path = tmp_path / "partial.sse"
    path.write_bytes(body_of(*STREAMED, STOP))
    check_cuts(GEMINI, path)
    check_truncations(GEMINI, path)
    (cut,) = calls_of(events_of(*STREAMED[:3], chunk(finish="MAX_TOKENS")))
    assert cut.invalid
    assert cut.arguments is None
    (broken,) = calls_of(events_of(*STREAMED[:4], {"error": {"code": 503, "status": "UNAVAILABLE"}}))
    assert broken.invalid


def test_a_call_whose_end_was_left_out() -> None:
    """Another call, or the end of the answer, ends it, if no value was announced to go on."""
    first = chunk(pieces(arg("$.a", numberValue=1), name="f"))
    calls = calls_of(events_of(first, chunk(call("g", args={"b": 2})), STOP))
    assert [(one.name, one.arguments) for one in calls] == [("f", {"a": 1}), ("g", {"b": 2})]
    (only,) = calls_of(events_of(first, STOP))
    assert only.arguments == {"a": 1}
    (empty,) = calls_of(events_of(chunk(pieces(name="f")), chunk(pieces(goes_on=False)), STOP))
    assert (empty.arguments, empty.raw_arguments) == ({}, "{}")


def test_two_calls_in_pieces_after_each_other() -> None:
    """The end of one is not the end of the other."""
    two = [pieces(name="f"), pieces(arg("$.a", numberValue=1)), pieces(goes_on=False), pieces(name="f")]
    calls = calls_of(events_of(*map(chunk, [*two, pieces(arg("$.a", numberValue=2)), pieces(goes_on=False)]), STOP))
    assert [one.arguments for one in calls] == [{"a": 1}, {"a": 2}]
    assert len({one.id for one in calls}) == 2


def test_paths_that_go_back_still_add_up() -> None:
    """Out of the order of a document: the fragments stop, the arguments are whole."""
    back = [
        arg("$.a", numberValue=1),
        arg("$.b", numberValue=2),
        arg("$.a", numberValue=3),
        arg("$.c[0]", stringValue="x"),
    ]
    (one,) = calls_of(events_of(chunk(pieces(*back, name="f")), chunk(pieces(goes_on=False)), STOP))
    assert one.arguments == {"a": 3, "b": 2, "c": ["x"]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.req("G7")
@given(
    st.dictionaries(st.text(min_size=1, max_size=3), JSON, min_size=1, max_size=4), st.randoms(use_true_random=False)
)
def test_any_arguments_can_come_in_pieces(arguments: dict[str, Any], chance: Any) -> None:
    """Leaf by leaf, strings cut anywhere: the fragments are JSON, and it is the arguments."""
    said = [pieces(name="f")]
    for path, value in leaves("$", arguments):
        if isinstance(value, str):
            at = chance.randrange(len(value) + 1)
            said += [
                pieces(arg(path, stringValue=value[:at], willContinue=True)),
                pieces(arg(path, stringValue=value[at:])),
            ]
        else:
            kind = "nullValue" if value is None else "boolValue" if isinstance(value, bool) else "numberValue"
            said.append(pieces(arg(path, **{kind: "NULL_VALUE" if value is None else value})))
    events = GEMINI.decode(body_of(*map(chunk, [*said, pieces(goes_on=False)]), STOP))
    (one,) = calls_of(events)
    assert one.arguments == arguments
    fragments = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert json.loads(fragments) == arguments


def leaves(path: str, value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            yield from leaves(f"{path}['{quoted}']", inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from leaves(f"{path}[{at}]", inner)
    else:
        yield path, value


# ---- signatures, media, the server's own tools


@pytest.mark.req("E7")
def test_parts_with_signatures_stay_apart() -> None:
    """Text, thoughts, calls and media in their order, each with its own signature, none merged with its neighbour."""
    events = events_of(
        chunk(
            {"text": "t1", "thought": True},
            {"text": "t2", "thought": True},
            {"text": "t3", "thought": True, "thoughtSignature": "s1"},
        ),
        chunk("a", "b", {"text": "c", "thoughtSignature": "s2"}, {"text": "d", "thoughtSignature": "s3"}, "e"),
        chunk({**call(id="c1"), "thoughtSignature": "s4"}),
        chunk({"inlineData": {"mimeType": "image/png", "data": "YWI="}, "thoughtSignature": "s5"}),
        chunk({"text": "", "thoughtSignature": "s6"}, finish="STOP"),
    )
    reply = fold(events)
    parts = [
        (
            type(part).__name__,
            getattr(part, "text", ""),
            part.state.data.get("thoughtSignature") if part.state else None,
        )
        for part in reply.message.parts
    ]
    assert parts == [
        ("Reasoning", "t1t2", None),
        ("Reasoning", "t3", "s1"),
        ("Text", "ab", None),
        ("Text", "c", "s2"),
        ("Text", "d", "s3"),
        ("Text", "e", None),
        ("ToolCall", "", "s4"),
        ("Image", "", "s5"),
        ("Text", "", "s6"),
    ]
    assert (reply.text, reply.reasoning) == ("abcde", "t1t2t3")


def test_media_of_every_kind() -> None:
    """Images, sound with its rate, and files; base64 of URLs, too; what is no base64 is skipped."""
    events = events_of(
        chunk({"inlineData": {"mimeType": "image/webp", "data": "_-8"}}),
        chunk({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "YQ=="}}),
        chunk({"inline_data": {"mime_type": "video/mp4", "data": "YQ=="}}),
        chunk(
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/i.png"}}, {"fileData": {"fileUri": "gs://b/x"}}
        ),
        chunk({"inlineData": {"mimeType": "image/png", "data": "YQ=="}, "thought": True}),
        chunk({"inlineData": {"mimeType": "image/png", "data": "!"}}),
        STOP,
    )
    made = [event for event in events if isinstance(event, Image | Audio | File)]
    assert made[:2] == [Image(data=b"\xff\xef", media_type="image/webp"), Audio(b"a", "L16;codec=pcm;rate=24000")]
    assert made[2:5] == [
        File(data=b"a", media_type="video/mp4"),
        Image(url="gs://b/i.png", media_type="image/png"),
        File(file_id="gs://b/x", media_type="application/octet-stream"),
    ]
    assert made[5].state is not None
    assert made[5].state.data == {"thought": True}
    assert len(made) == 6


def test_code_that_the_server_ran() -> None:
    """A call that is done, and its result, in the assistant's turn: there is nothing left to run."""
    code, result = {"language": "PYTHON", "code": "1/0"}, {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}
    events = events_of(
        chunk("Let me see."),
        chunk({"executableCode": code, "thoughtSignature": "s"}),
        chunk({"codeExecutionResult": result}),
        chunk({"toolCall": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"q": "x"}}}),
        chunk({"toolResponse": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "response": {"r": [1]}}}),
        chunk("It failed.", finish="STOP"),
    )
    reply = fold(events)
    assert not reply.tool_calls
    assert events[-1] == Finish("stop", "STOP")
    first, ran, output, search, found, last = reply.message.parts
    assert isinstance(first, Text)
    assert isinstance(last, Text)
    assert isinstance(ran, ToolCall)
    assert (ran.name, ran.arguments, ran.executed) == ("code_execution", code, True)
    assert isinstance(output, ToolResult)
    assert (output.id, output.content, output.is_error) == (ran.id, "ZeroDivisionError", True)
    assert isinstance(search, ToolCall)
    assert (search.id, search.name, search.arguments) == ("t1", "google_search_web", {"q": "x"})
    assert isinstance(found, ToolResult)
    assert (found.id, found.content, found.is_error) == ("t1", '{"r":[1]}', False)


def test_a_result_of_nothing_is_skipped() -> None:
    """Without the code before it there is no call that it could answer."""
    events = events_of(chunk({"codeExecutionResult": {"output": "x"}}), STOP)
    assert not any(isinstance(event, ToolResult) for event in events)


# ---- what is not understood


@pytest.mark.req("G4")
def test_unknown_parts_and_fields_are_skipped_and_there_raw() -> None:
    """New kinds of parts, fields beside known ones, other candidates: nothing breaks, nothing is lost where it is wanted."""
    frames = [
        chunk({"hologram": {"x": 1}}, "a", audienceMood="good"),
        {
            "candidates": [
                {"index": 1, "content": {"parts": [{"text": "other"}]}},
                {"index": 0, "content": {"parts": [{"text": "b"}]}},
            ]
        },
        {**chunk("c"), "shiny": True},
        STOP,
    ]
    assert fold(events_of(*frames)).text == "abc"
    raw = events_of(*frames, raw=True)
    assert [event for event in raw if type(event).__name__ != "RawEvent"] == events_of(*frames)
    assert raws_of(raw) == frames[:3]


@pytest.mark.req("G3")
def test_snake_case_is_understood() -> None:
    """Some servers, and Google's own SDK, write the names of the protocol buffers."""
    events = events_of(
        {
            "candidates": [
                {
                    "content": {"parts": [{"function_call": {"name": "f", "args": {}}, "thought_signature": "s"}]},
                    "finish_reason": "STOP",
                    "grounding_metadata": {"grounding_chunks": [{"web": {"uri": "u"}}]},
                }
            ],
            "usage_metadata": {"prompt_token_count": 3, "thoughts_token_count": 1},
            "model_version": "gemini-s",
            "response_id": "r",
        }
    )
    reply = fold(events)
    assert (reply.model, reply.id, reply.finish_reason) == ("gemini-s", "r", "tool_calls")
    assert reply.tool_calls[0].state is not None
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 1)
    assert [citation.url for citation in reply.citations] == ["u"]


def test_an_array_instead_of_events() -> None:
    """Without alt=sse the answer is one array of chunks; one that was cut is not whole."""
    body = b"[" + b"\r\n,\r\n".join(json.dumps(frame).encode() for frame in (chunk("a"), chunk("b"), STOP)) + b"]"
    assert fold(GEMINI.decode(body)).text == "ab"
    assert isinstance(failure(GEMINI.decode(body[:-30])), IncompleteStreamError)
    whole = json.dumps(chunk("all", finish="STOP"), indent=2).encode()
    assert fold(GEMINI.decode(whole)).text == "all"


@pytest.mark.req("A3", "G3")
def test_half_characters() -> None:
    """A character cut between two parts is one; a half that stays one becomes U+FFFD."""
    halves = [
        b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\ude00"}]}}]}\n\n',
    ]
    assert fold(events_of(*halves, STOP)).text == "a😀"
    assert fold(events_of(halves[0], chunk({**call()}), STOP)).text == "a\ufffd"


# ---- sources


def test_byte_offsets_become_character_offsets() -> None:
    """Over several chunks and characters of one to four bytes; each source of a place once."""
    text = ["Grüße ", "👩‍🚀 sagt: ", "ja."]
    whole = "".join(text)
    start, end = len("Grüße ".encode()), len("Grüße 👩‍🚀".encode())
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a.test", "title": "A"}},
            {"retrievedContext": {"uri": "gs://b", "title": "B", "text": "quoted"}},
            {"maps": {"uri": "https://maps.test", "title": "C"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": start, "endIndex": end, "text": "👩‍🚀"}, "groundingChunkIndices": [0, 1]},
            {"segment": {"endIndex": start}, "groundingChunkIndices": [0, 7, "x"]},
        ],
    }
    fetched = {
        "urlMetadata": [{"retrievedUrl": "https://page.test", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}]
    }
    cited = {"citationSources": [{"startIndex": 0, "endIndex": 6, "uri": "https://code.test", "license": "mit"}]}
    events = events_of(
        *(chunk(piece) for piece in text),
        chunk(finish="STOP", groundingMetadata=grounding, urlContextMetadata=fetched, citationMetadata=cited),
        chunk(groundingMetadata=grounding),
    )
    found = fold(events).citations
    assert [
        (one.url, one.title, None if one.end is None else whole[one.start : one.end], one.quote) for one in found
    ] == [
        ("https://a.test", "A", "👩‍🚀", ""),
        ("gs://b", "B", "👩‍🚀", "quoted"),
        ("https://a.test", "A", "Grüße ", ""),
        ("https://maps.test", "C", None, ""),
        ("https://code.test", "", "Grüß", ""),
        ("https://page.test", "", None, ""),
    ]
    assert all(one.raw for one in found)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 30)))
def test_offsets_there_and_back(text: str, places: list[int]) -> None:
    """Any text, any places."""
    places = [min(place, len(text)) for place in places]
    found = character_offsets(text, [byte_offset(text, place) for place in places])
    assert [found[byte_offset(text, place)] for place in places] == places


# ---- errors

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}


def quota(id: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": "m", "quotaId": id, "quotaValue": "50"}],
    }


def info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


LONG = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
ERRORS: list[tuple[int, str, str, list[Any], type[LLMError], bool]] = [
    (400, "INVALID_ARGUMENT", "bad", [], InvalidRequestError, False),
    (400, "INVALID_ARGUMENT", "API key not valid.", [info("API_KEY_INVALID")], AuthenticationError, False),
    (400, "INVALID_ARGUMENT", LONG, [], ContextLengthExceededError, False),
    (400, "FAILED_PRECONDITION", "wrong state", [], InvalidRequestError, False),
    (
        400,
        "FAILED_PRECONDITION",
        "Gemini API free tier is not available in your country. Please enable billing",
        [],
        BillingError,
        False,
    ),
    (401, "UNAUTHENTICATED", "no", [info("ACCESS_TOKEN_EXPIRED")], AuthenticationError, False),
    (402, "", "pay", [], BillingError, False),
    (403, "PERMISSION_DENIED", "no", [], PermissionDeniedError, False),
    (403, "PERMISSION_DENIED", "no", [info("BILLING_DISABLED")], BillingError, False),
    (404, "NOT_FOUND", "models/x is not found", [], NotFoundError, False),
    (409, "ABORTED", "again", [], ServerError, True),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "slow",
        [RETRY, quota("GenerateRequestsPerMinutePerProjectPerModel")],
        RateLimitError,
        True,
    ),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "slow",
        [RETRY, quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")],
        RateLimitError,
        False,
    ),
    (499, "CANCELLED", "gone", [], LLMTimeoutError, True),
    (500, "INTERNAL", "oops", [], ServerError, True),
    (503, "UNAVAILABLE", "The model is overloaded.", [], OverloadedError, True),
    (504, "DEADLINE_EXCEEDED", "late", [], LLMTimeoutError, True),
]


@pytest.mark.req("C1", "C3", "C6", "A9", "seed-C", "H11")
@pytest.mark.parametrize(("code", "status", "message", "details", "kind", "retryable"), ERRORS)
def test_errors_in_every_form(
    code: int, status: str, message: str, details: list[Any], kind: type[LLMError], retryable: bool
) -> None:
    """Over HTTP as an object or an array, inside the stream as an event, and unframed as pretty JSON: the same error."""
    body: dict[str, Any] = {"error": {"code": code, "message": message, "status": status, "details": details}}
    pretty = json.dumps(body, indent=2).replace("\n", "\r\n").encode()
    array = json.dumps([body], indent=2).encode()
    found = [classify_response(code, {}, content) for content in (pretty, array, json.dumps(body).encode())]
    for frames in ([body], [chunk("a"), body], [chunk("a"), pretty], [chunk("a"), pretty + b"\r\n"], [pretty], [array]):
        events = events_of(*frames)
        assert isinstance(events[-1], StreamError)
        found.append(events[-1].error)
        assert fold(events).text == ("a" if len(frames) > 1 else "")
    for error in found:
        assert type(error) is kind
        assert (error.status, error.retryable) == (code, retryable)
        assert error.message == message
        assert error.retry_after == (17.5 if RETRY in details else None)


@pytest.mark.req("B1")
def test_an_unframed_error_that_was_cut() -> None:
    """Half an error is no end that anybody said."""
    pretty = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}, indent=2).encode()
    assert isinstance(failure(events_of(chunk("a"), pretty[:-5])), IncompleteStreamError)


@pytest.mark.req("F9")
def test_what_was_counted_before_an_error_is_said() -> None:
    """The tokens of half an answer are paid for, too."""
    events = events_of(
        {**chunk("a"), "usageMetadata": {"promptTokenCount": 3}}, {"error": {"code": 500, "status": "INTERNAL"}}
    )
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [3]
    assert isinstance(events[1], TextDelta)


def test_a_thought_alone_is_an_answer_that_was_cut_at_its_limit() -> None:
    """All tokens went into thinking: the limit is the end, and there is no text."""
    events = events_of(chunk({"text": "hm", "thought": True}), chunk(finish="MAX_TOKENS"))
    assert events[-1] == Finish("length", "MAX_TOKENS")
    assert [type(part) for part in fold(events).message.parts] == [Reasoning]
