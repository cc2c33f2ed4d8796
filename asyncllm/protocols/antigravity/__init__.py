"""The wire of Google Antigravity's `agy`: its command line, its stream-json and its plain text.

Written from documentation and from what others have measured (1.1.3 to 1.3): no recording of the program was to be had here.
"""

from ._command import (
    Command,
    Interface,
    arguments,
    effort_of,
    plain_prompt,
    schema_of,
    settings_file,
    system_key,
    too_long,
    user_line,
)
from ._decode import SERVER, StreamDecoder
from ._text import TextDecoder

__all__ = [
    "SERVER",
    "Command",
    "Interface",
    "StreamDecoder",
    "TextDecoder",
    "arguments",
    "effort_of",
    "plain_prompt",
    "schema_of",
    "settings_file",
    "system_key",
    "too_long",
    "user_line",
]
