"""The upstream's answers to "loop", a run of three steps with two tools: which one, the results in the request say.

The first asks for both tools at once, the second for one of them, the third is a short text. Arguments come in fragments of a
token, as OpenAI sends them.
"""

from __future__ import annotations

import json
from functools import cache

from ._answers import HEAD, TEXT, TEXT_END, chunked, end, event, tool_piece
from .clients._functions import SAID

_OPENING = HEAD + chunked([event({"role": "assistant", "content": None, "refusal": None})])
_OSLO = ("weather", ('{"', "city", '":"', "Oslo", '"}'))
_NOON = ("local_time", ('{"', "city", '":"', "Oslo", '","', "hours", '":', "24", "}"))
_BERGEN = ("weather", ('{"', "city", '":"', "Ber", "gen", '"}'))
_STEPS = {0: (_OSLO, _NOON), 2: (_BERGEN,), 3: ()}
"""The calls of a step, by how many results there are before it."""

STEPS = len(_STEPS)
PIECES = sum(map(len, _STEPS.values())) + len(TEXT)
"""What a client sees in a run, if it loses nothing: the results of the tools, and the deltas of the text."""


def loop_answer(body: bytes) -> bytes:
    """The next step of a conversation. A run in which a tool was not asked, or failed, must not look like a fast one."""
    results = [message for message in json.loads(body)["messages"] if message["role"] == "tool"]
    if not all(SAID in str(message["content"]) for message in results):
        raise ValueError(f"not what the tools say: {results}")
    return _answer(len(results))


@cache
def _answer(results: int) -> bytes:
    calls = _STEPS[results]
    if not calls:
        return _OPENING + b"".join(TEXT) + TEXT_END
    pieces: list[bytes] = []
    for at, (name, fragments) in enumerate(calls):
        call = f"call_{results}{at}NjQ0YWZkZTE5OWQ1NDQ5Y2"
        pieces.append(tool_piece(at, id=call, type="function", function={"name": name, "arguments": ""}))
        pieces += [tool_piece(at, function={"arguments": fragment}) for fragment in fragments]
    return _OPENING + chunked(pieces) + end("tool_calls")
