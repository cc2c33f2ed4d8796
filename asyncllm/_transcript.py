"""A conversation as text for people, and the log files that such texts are kept in (seed-E8).

What models, tools and servers say is not trusted: control characters are shown and not sent to a terminal, a line that looks
like one of our headings is indented, and what looks like a credential is masked.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path

from .backends._private_files import private_folder
from .events import Audio, File, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult, redact

LOG_LIMIT = 64 * 1024 * 1024
"""Bytes of a log file after which another one follows."""

NAME_LIMIT = 128
"""Characters of a name or an address that are shown."""

_HARMFUL = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\n\t"),
        *range(0x7F, 0xA0),
        0x061C,  # what follows turns the direction of text, and shows it in another order than it has
        *range(0x200E, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_HEADING = re.compile(r"^(?=\[(?:User Message|System Message|Response|Thinking|Tool Call|Tool Result))", re.MULTILINE)


def transcript(messages: Sequence[Message], *, width: int = 2000) -> str:
    """The conversation as readable text, ending in a newline; "" for an empty one. Linear in what was said.

    Each turn has headings: ``[User Message]``, ``[System Message]``, ``[Response]``, ``[Thinking]``,
    ``[Tool Call: name] arguments``, ``[Tool Result: name]`` or ``[Tool Result (error): name]``. A value of more than `width`
    characters is cut, and says how many are missing. Images, sound and files are a short note.
    """
    text = "\n\n".join(block for message in messages for block in _blocks(message, max(width, 0)))
    return text + "\n" if text else ""


def _blocks(message: Message, width: int) -> Iterator[str]:
    for kind, parts in groupby(message.parts, _kind_of):
        if kind is ToolCall:
            yield from (_call(part, width) for part in parts if isinstance(part, ToolCall))
            continue
        if kind is ToolResult:
            yield from (_result(part, width) for part in parts if isinstance(part, ToolResult))
            continue
        said = _body(list(parts), width)
        if not said:
            continue
        label = {"user": "User Message", "system": "System Message", "assistant": "Response", "tool": "Tool Result"}
        heading = f"[{'Thinking' if kind is Reasoning else label[message.role]}]"
        yield f"{heading} {_name(message.name)}\n{said}" if message.name else f"{heading}\n{said}"


def _kind_of(part: Part) -> type:
    return type(part) if isinstance(part, ToolCall | ToolResult | Reasoning) else Text


def _call(call: ToolCall, width: int) -> str:
    arguments = call.raw_arguments
    if call.arguments is not None:
        try:
            arguments = json.dumps(call.arguments, ensure_ascii=False, default=repr)
        except (TypeError, ValueError, RecursionError):  # too deep, or made by hand: as it was sent
            pass
    wrong = f" (invalid: {_name(call.invalid)})" if call.invalid else ""
    return f"[Tool Call: {_name(call.name)}] {_clean(arguments, width)}".rstrip() + wrong


def _result(result: ToolResult, width: int) -> str:
    heading = f"[Tool Result{' (error)' if result.is_error else ''}: {_name(result.name or result.id)}]"
    said = _clean(result.content, width) if isinstance(result.content, str) else _body(result.content, width)
    return f"{heading}\n{said}" if said else heading


def _body(parts: Sequence[Part], width: int) -> str:
    lines: list[str] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, Text | Reasoning)):
        if is_text:
            lines.append(_clean("".join(part.text for part in group if isinstance(part, Text | Reasoning)), width))
        else:
            lines += map(_note, group)
    return "\n".join(line for line in lines if line.strip())


def _note(part: Part) -> str:
    match part:
        case Image(url=str() as url) if url.startswith("data:"):
            return f"[image: {_name(url[5:69].partition(',')[0])}, {len(url):,} characters]"
        case Image(url=str() as url):
            return f"[image: {_name(url)}]"
        case Image():
            return f"[image: {_name(part.media_type)}, {len(part.data or b''):,} bytes]"
        case Audio():
            return f"[audio: {_name(part.format)}, {len(part.data):,} bytes]"
        case File():
            size = f"id {_name(part.file_id)}" if part.file_id is not None else f"{len(part.data or b''):,} bytes"
            return f"[file: {_name(part.name)}, {_name(part.media_type)}, {size}]"
    return f"[{type(part).__name__}]"


def _clean(text: str, width: int) -> str:
    """Masked while it is whole, then cut, then made harmless."""
    text = redact(text)
    cut = f"... [{len(text) - width:,} more characters]" if len(text) > width else ""
    return _HEADING.sub(" ", _harmless(text[:width].replace("\r\n", "\n"))) + cut


def _name(text: str) -> str:
    """What stands inside a line."""
    text = " ".join(redact(text[: 2 * NAME_LIMIT]).split())
    return _harmless(text if len(text) <= NAME_LIMIT else text[:NAME_LIMIT] + "...")


def _harmless(text: str) -> str:
    """Control characters as they are written in programs; half characters too, which no file can hold."""
    if text.isascii() and text.isprintable():  # most are
        return text
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text.translate(_HARMFUL))


def append_to_log(
    log_dir: str | os.PathLike[str], text: str, *, limit: int = LOG_LIMIT, now: datetime | None = None
) -> Path:
    """Append to the log of the day (UTC), ``asyncllm-YYYY-MM-DD.log``, and say which file it was. Blocks: call it in a thread.

    The directory is made (0700) if it is not there; files are private (0600). Each text is one write to the end of the file,
    so that those of several processes do not mix. A file that would grow above `limit` bytes is followed by
    ``asyncllm-YYYY-MM-DD.1.log`` and so on; a text longer than that has a file of its own. Raises ``OSError``; also where the
    file is a link, or no file: nothing is written through it.
    """
    folder = Path(log_dir)
    private_folder(folder)
    day = (now or datetime.now(UTC)).astimezone(UTC).date().isoformat()
    data = (text if text.endswith("\n") else text + "\n").encode("utf-8", "backslashreplace")
    path = folder / f"asyncllm-{day}.log"
    for number in count(1):
        following = folder / f"asyncllm-{day}.{number}.log"
        if not os.path.lexists(following) and _append(
            path, data, limit
        ):  # to the last one: what came later stands later
            break
        path = following
    return path


def _append(path: Path, data: bytes, limit: int) -> bool:
    """Whether there was room. (O_NONBLOCK: a pipe in the place of the file is refused, not waited for.)"""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    file = os.open(path, flags, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a file")
        if found.st_size and found.st_size + len(data) > limit:
            return False
        while data:  # once, unless the disk is full
            data = data[os.write(file, data) :]
        return True
    finally:
        os.close(file)
