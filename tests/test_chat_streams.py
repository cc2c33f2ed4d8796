"""Every recorded chat stream: what it says, and that no cut of its bytes changes that or goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _decoding import PROVIDER, decode, decode_pieces, failure, merged, single_bytes
from _wirecase import WireCase, check_cuts, check_said, check_truncations, expected, sse_borders

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    check_order,
    fold,
)
from asyncllm.protocols.openai_chat import ChatCodec, ChatQuirks

STREAMS = sorted((Path(__file__).parent / "fixtures" / "streams" / "openai_chat").glob("*.sse"))
each_stream = pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)

CHAT = WireCase("openai_chat", lambda: ChatCodec(PROVIDER), sse_borders)


@pytest.mark.req("B3", "B5", "B6", "D8", "E1", "E2", "E4", "F1", "F2", "F4", "G1", "G2", "G3", "seed-B3", "seed-B5")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, reasoning, refusal, calls with their raw arguments, usage, finish and error of a stream."""
    check_said(CHAT, path)


@pytest.mark.req("A2", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    check_cuts(CHAT, path)


@pytest.mark.req("B1", "B3", "B9", "seed-B7")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    check_truncations(CHAT, path)


@pytest.mark.req("B11")
def test_done_without_a_finish_reason_is_an_end_only_where_the_server_means_it() -> None:
    """It is complete with an unknown reason by default, and an aborted request where the row says so (vllm)."""
    body = next(path for path in STREAMS if path.stem == "dev_done_without_finish").read_bytes()
    assert decode(body)[-1] == Finish("other")
    error = failure(decode(body, quirks=ChatQuirks(done_needs_finish=True)))
    assert isinstance(error, IncompleteStreamError)


def test_think_tags_are_split_on_request() -> None:
    """The stream with tags gives reasoning and text apart where the row says so."""
    path = next(path for path in STREAMS if path.stem == "dev_think_tags")
    want = expected(path)
    body = path.read_bytes()
    events = decode(body, quirks=ChatQuirks(think_tags=True))
    assert fold(events).text == want["text_without_think"]
    assert fold(events).reasoning == want["reasoning_from_think"]
    check_order(decode_pieces(single_bytes(body), quirks=ChatQuirks(think_tags=True)))


@pytest.mark.req("G4")
@pytest.mark.parametrize(
    ("name", "key"), [("audio", "audio"), ("logprobs", "logprobs"), ("dev_perplexity_citations", "citations")]
)
def test_what_is_not_understood_is_there_raw(name: str, key: str) -> None:
    """Audio, log probabilities and citations are not dropped: they come as raw events, where asked for."""
    body = next(path for path in STREAMS if path.stem == name).read_bytes()
    plain, raw = decode(body), decode(body, raw=True)
    assert merged(event for event in raw if type(event).__name__ != "RawEvent") == merged(plain)
    assert f'"{key}"' in json.dumps([event.data for event in raw if type(event).__name__ == "RawEvent"])
