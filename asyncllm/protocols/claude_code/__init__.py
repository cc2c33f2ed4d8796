"""Claude Code's wire: JSON lines both ways, with a control protocol among them."""

from __future__ import annotations

from ._command import (
    Command,
    Interface,
    PermissionMode,
    Source,
    arguments,
    initialize,
    key_of,
    plain_prompt,
    user_line,
    variables,
)
from ._control import NOBODY, PREFIX, SERVER, Desk, Permission, ask, overhear
from ._decode import StreamDecoder
from ._output import OutputDecoder
from ._state import covers, file_name, folder_of, leaf_of, until

__all__ = [
    "NOBODY",
    "PREFIX",
    "SERVER",
    "Command",
    "Desk",
    "Interface",
    "OutputDecoder",
    "Permission",
    "PermissionMode",
    "Source",
    "StreamDecoder",
    "arguments",
    "ask",
    "covers",
    "file_name",
    "folder_of",
    "initialize",
    "key_of",
    "leaf_of",
    "overhear",
    "plain_prompt",
    "until",
    "user_line",
    "variables",
]
