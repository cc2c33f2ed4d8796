"""Requests that failed, kept as files for whoever looks for the reason: without secrets, and bounded (seeds D)."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from ..events import Finish, Image, LLMError, Retrying, StreamError, StreamEvent, redact
from ..events._fold import CHARACTERS_PER_TOKEN
from ..protocols import Request
from ._backend import Backend, EventSource, Flow, flow_of, settled
from ._private_files import private_folder

logger = logging.getLogger("asyncllm.dump")

FILE_LIMIT = 1_000_000
"""Bytes of one file."""

FILES_LIMIT = 200
"""Files in the directory: the oldest make room."""

OURS = "failed-????????T??????.??????Z-*.json"
"""Which files of the directory those are."""

CUTS = ((20_000, 1000), (2000, 200), (200, 60), (60, 12))
"""Characters of a string and items of a list that are kept: the first pair with which the file is small enough."""

KEY_BEGINNING = 50
"""Characters of a key that cannot be told from other text yet."""

DEPTH = 40
"""Objects in objects that are looked into."""

_APART = ("model", "messages", "system", "tools", "extra_headers")
"""Fields of a request that are no options, or must not be in a file."""

_numbers = itertools.count(1)


class Dumping:
    """A backend that writes a file for each attempt of a call that fails.

    One around all the others: it sees every failure that is told, whoever tries again. `earlier` attempts were made before.
    """

    def __init__(self, inner: Backend, folder: str | os.PathLike[str], *, earlier: int = 0) -> None:
        self._inner = inner
        self._folder = Path(folder)
        self._earlier = earlier
        self.name = inner.name

    def stream(self, request: Request) -> EventSource:
        return _DumpingSource(self._inner, request, self._folder, self._earlier)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _DumpingSource:
    __slots__ = ("_attempt", "_folder", "_inner", "_name", "_over", "_request")

    def __init__(self, backend: Backend, request: Request, folder: Path, earlier: int) -> None:
        self._inner = backend.stream(request)
        self._name = backend.name
        self._request = request
        self._folder = folder
        self._attempt = earlier
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        batch = await self._inner.__anext__()
        last = batch[-1]
        if isinstance(last, Retrying | StreamError):
            self._over = isinstance(last, StreamError)
            await self._write(last.error)
        elif isinstance(last, Finish):
            self._over = True
        return batch

    @property
    def flow(self) -> Flow | None:
        """Nothing in it is a failure."""
        return flow_of(settled(self._inner))

    async def failed(self, error: LLMError) -> None:
        """The call was given up by its caller (see ``tell_failure``), who may have closed it by now."""
        if not self._over:
            self._over = True
            await self._write(error)

    async def _write(self, error: LLMError) -> None:
        """Off the loop. That it cannot be written is logged: the error is what matters."""
        from anyio import to_thread

        self._attempt += 1
        now = datetime.now(UTC)
        try:
            await to_thread.run_sync(
                write_failure,
                self._folder,
                self._name,
                self._request,
                error,
                self._attempt,
                now,
                abandon_on_cancel=True,
            )
        except Exception as problem:  # noqa: BLE001
            logger.warning("a failed request could not be kept in %s: %r", self._folder, problem)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def abort(self) -> None:
        self._inner.abort()


def write_failure(folder: Path, provider: str, request: Request, error: LLMError, attempt: int, now: datetime) -> Path:
    """Write one file, private (0600) and new, into the directory (made with 0700), and delete the oldest ones. Blocks."""
    data = _encoded(_described(provider, request, error, attempt, now))
    private_folder(folder)
    stamp = now.strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"failed-{stamp}-{os.getpid()}-{next(_numbers)}.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    file = os.open(path, flags, 0o600)
    try:
        with open(file, "wb") as out:
            out.write(data)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()  # half a file is no use
        raise
    for old in sorted(folder.glob(OURS))[:-FILES_LIMIT]:  # by name is by time
        with contextlib.suppress(OSError):  # somebody else was faster
            old.unlink()
    return path


def _described(provider: str, request: Request, error: LLMError, attempt: int, now: datetime) -> dict[str, object]:
    options = {name: getattr(request, name) for name in request.__struct_fields__ if name not in _APART}
    return {
        "time": now.isoformat(),
        "provider": error.provider or provider,
        "model": error.model or request.model,
        "attempt": attempt,
        "error": error.to_dict(),
        "token_estimate": _characters((request.system, request.messages, request.tools)) // CHARACTERS_PER_TOKEN,
        "system": request.system,
        "messages": request.messages,
        "tools": request.tools,
        "options": {
            name: value for name, value in options.items() if value is not None and value != () and value != {}
        },
    }


def _encoded(facts: dict[str, object]) -> bytes:
    """The file. What is too long for it is cut, and says so."""
    for characters, items in CUTS:
        data = _json(_Plain(characters, items).value(facts))
        if len(data) <= FILE_LIMIT:
            return data
    plain = _Plain(*CUTS[-1])
    few = {name: value for name, value in facts.items() if name not in ("messages", "tools", "options")}
    return _json({**{name: plain.value(value) for name, value in few.items()}, "left_out": "messages, tools, options"})


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=True)
    return text.encode("utf-8", "backslashreplace") + b"\n"


class _Plain:
    """Anything as JSON: masked, without the bytes of images and files, and cut."""

    def __init__(self, characters: int, items: int) -> None:
        self._characters = characters
        self._items = items

    def value(self, given: object, depth: int = 0) -> object:
        match given:
            case None | bool() | int():
                return given
            case float():
                return given if math.isfinite(given) else repr(given)
            case str():
                return self._text(given)
            case bytes() | bytearray() | memoryview():
                return f"[{len(given):,} bytes]"
            case Image(url=str(url)) if not url.startswith("data:"):  # what follows may be a signature
                given = Image(url.partition("?")[0], media_type=given.media_type, detail=given.detail)
        if depth >= DEPTH:
            return "[...]"
        match given:
            case Struct():
                tag = given.__struct_config__.tag
                fields = {
                    name: value for name in given.__struct_fields__ if (value := getattr(given, name)) is not None
                }
                kind: dict[str, object] = {"type": tag} if isinstance(tag, str) else {}
                return self._object(kind | fields, depth)
            case Mapping():
                return self._object(given, depth)
            case Sequence() | set() | frozenset():
                return self._list(list(given), depth)
        return self._text(repr(given))

    def _object(self, given: Mapping[Any, object], depth: int) -> dict[str, object]:
        plain: dict[str, object] = {}
        for key, value in itertools.islice(given.items(), self._items):
            name = self._text(str(key))
            plain[name] = "***" if isinstance(value, str) and _is_secret(name) else self.value(value, depth + 1)
        if len(given) > self._items:
            plain["..."] = f"[{len(given) - self._items:,} more]"
        return plain

    def _list(self, given: list[object], depth: int) -> list[object]:
        """The middle is what is left out: a conversation is told by its beginning and its end."""
        head = self._items // 2
        left_out = len(given) - 2 * head
        if len(given) <= self._items:
            return [self.value(item, depth + 1) for item in given]
        kept = [self.value(item, depth + 1) for item in (*given[:head], *given[-head:])]
        return [*kept[:head], f"[{left_out:,} more]", *kept[head:]]

    def _text(self, text: str) -> str:
        if text.startswith("data:") and ";base64," in text[:200]:
            return f"[{text.partition(';')[0][:100]}, {len(text):,} characters]"
        limit = self._characters
        if len(text) <= limit:
            return redact(text)
        # masked before it is cut; what is looked at ends somewhere, too, with what may be the beginning of a key
        shown = redact(text[: 2 * limit])[:-KEY_BEGINNING][:limit]
        return f"{shown}... [{len(text) - len(shown):,} more characters]"


def _is_secret(name: str) -> bool:
    """Whether what has such a name is masked wherever it stands."""
    return redact(f"{name}: aaaaaaaa").endswith(": ***")


def _characters(value: object, depth: int = 0) -> int:
    """Of all texts in it."""
    match value:
        case str():
            return len(value)
        case bytes() | bytearray() | memoryview() | None:
            return 0
        case _ if depth >= DEPTH:
            return 0
        case Struct():
            return sum(_characters(getattr(value, name), depth + 1) for name in value.__struct_fields__)
        case Mapping():
            return sum(len(str(key)) + _characters(item, depth + 1) for key, item in value.items())
        case Sequence():
            return sum(_characters(item, depth + 1) for item in value)
    return len(str(value))
