"""What Gemini's servers say besides text and calls: signatures, media, code, sources, and what is not understood."""

from __future__ import annotations

import json

import pytest
from _decoding import failure, raws_of
from _gemini import GEMINI, STOP, call, chunk, events_of
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Audio, File, Finish, Image, IncompleteStreamError, Text, ToolCall, ToolResult, fold
from asyncllm.protocols.gemini._citations import byte_offset, character_offsets

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
