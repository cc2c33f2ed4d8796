"""A burst on every wire that has events in text: beside the chat codec, and beside the vendor's own SDK."""

from __future__ import annotations

from .._processes import Machine
from .._series import Table
from .bursts import EVENTS, burst_rows

CHAT = "asyncllm"
SDKS = {
    "asyncllm anthropic": "anthropic",
    "asyncllm openai-responses": "openai responses",
    "asyncllm gemini": "google-genai",
}
"""Our row of a wire, and that of its vendor's SDK."""


def wires(machine: Machine, quick: bool) -> list[Table]:
    rows = burst_rows(machine, (CHAT, *SDKS, "asyncllm ollama-native", *SDKS.values()), quick, sets=2)
    what = f"an answer of {EVENTS} text deltas on each wire; asyncllm alone is chat completions"
    return [Table("wires", what, "µs/event", rows, floor=CHAT)]
