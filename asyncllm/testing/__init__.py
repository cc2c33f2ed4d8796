"""A server for tests, on loopback: it speaks the OpenAI chat wire from a script, and breaks it in the way you say.

    async with Server(Answer.text("Hello there")) as server:
        client = Client("openai/any", base_url=server.base_url, api_key="any")

Without a script it serves the demo models; `python -m asyncllm.testing` does so until Ctrl-C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._demo import DEMO_MODELS, demo_server
    from ._faults import (
        Cut,
        ErrorAfter,
        Fault,
        Gzip,
        HoldOpen,
        KeepAlive,
        Malformed,
        NoDone,
        NoFinish,
        Plan,
        SlowHeaders,
        Split,
        Stall,
        Trailing,
        TruncatedChunk,
    )
    from ._script import Answer, ReceivedRequest, Script
    from ._server import Connections, Server
    from ._threads import serve_in_thread
    from ._waits import Delay, Wait, Waitable

_HOMES = {
    "_demo": ("DEMO_MODELS", "demo_server"),
    "_faults": (
        "Cut",
        "ErrorAfter",
        "Fault",
        "Gzip",
        "HoldOpen",
        "KeepAlive",
        "Malformed",
        "NoDone",
        "NoFinish",
        "Plan",
        "SlowHeaders",
        "Split",
        "Stall",
        "Trailing",
        "TruncatedChunk",
    ),
    "_script": ("Answer", "ReceivedRequest", "Script"),
    "_server": ("Connections", "Server"),
    "_threads": ("serve_in_thread",),
    "_waits": ("Delay", "Wait", "Waitable"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "DEMO_MODELS",
    "Answer",
    "Connections",
    "Cut",
    "Delay",
    "ErrorAfter",
    "Fault",
    "Gzip",
    "HoldOpen",
    "KeepAlive",
    "Malformed",
    "NoDone",
    "NoFinish",
    "Plan",
    "ReceivedRequest",
    "Script",
    "Server",
    "SlowHeaders",
    "Split",
    "Stall",
    "Trailing",
    "TruncatedChunk",
    "Wait",
    "Waitable",
    "demo_server",
    "serve_in_thread",
]


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: pytest loads this package, for its plugin, in every run."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
