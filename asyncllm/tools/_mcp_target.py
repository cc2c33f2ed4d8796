"""Where an MCP server is: a URL, a command, or an object in memory. What was given is checked here, and secrets are hidden."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import SplitResult, parse_qsl, urlsplit

from msgspec import Struct

from ..events import InvalidRequestError, redact
from ._names import name_of_command, name_of_url

TransportName = Literal["http", "sse", "stdio"]

SHORTEST_SECRET = 6
"""Characters. Masking shorter values would make every message unreadable, and hide nothing."""


class Target(Struct, frozen=True, repr_omit_defaults=True):
    """`url`, `command` or `server`: one of them is there."""

    transport: Literal["http", "sse", "stdio", "memory"]
    name: str
    url: str = ""
    command: tuple[str, ...] = ()
    server: object = None
    headers: Mapping[str, str] = {}
    env: Mapping[str, str] = {}
    cwd: str | None = None

    def __repr__(self) -> str:
        return f"Target({self})"

    def __str__(self) -> str:
        """Where it is, without what may be a secret: query and user of a URL, arguments of a command."""
        match self.transport:
            case "stdio":
                return f"{os.path.basename(self.command[0])}{' ...' if self.command[1:] else ''}"
            case "memory":
                return f"{type(self.server).__name__} in memory"
            case _:
                parts = urlsplit(self.url)
                return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def hide(self, text: str) -> str:
        """`text` without what a server was given and may have said again."""
        secrets = {*self.headers.values(), *self.env.values()}
        secrets |= {value.partition(" ")[2] for value in self.headers.values()}  # without "Bearer"
        if self.url:
            parts = urlsplit(self.url)
            secrets |= {parts.query, parts.password or "", *(value for _, value in parse_qsl(parts.query))}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return redact(text)


def target_of(
    target: object,
    *,
    name: str | None,
    headers: Mapping[str, str] | None,
    transport: str | None,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
) -> Target:
    """Raises :class:`InvalidRequestError` for what cannot be a server, and for options that it would not heed."""
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidRequestError(f"name must be a text, not {name!r}")
    if transport is not None and transport not in get_args(TransportName):
        raise InvalidRequestError(f"transport must be 'http', 'sse' or 'stdio', not {transport!r}")
    found = _located(target, name, transport)
    if headers is not None and not found.url:
        raise InvalidRequestError("headers= is for servers with a URL")
    if (env is not None or cwd is not None) and not found.command:
        raise InvalidRequestError("env= and cwd= are for servers that are commands")
    return Target(
        found.transport,
        found.name,
        found.url,
        found.command,
        found.server,
        _headers(headers),
        _texts("env", env),
        None if cwd is None else os.fspath(cwd),
    )


def _located(target: object, name: str | None, transport: str | None) -> Target:
    if isinstance(target, str) and target.startswith(("http://", "https://")):
        if transport == "stdio":
            raise InvalidRequestError("transport='stdio' needs a command, not a URL")
        parts = _url(target)
        sse = transport == "sse" or (transport is None and parts.path.rstrip("/").endswith("/sse"))
        return Target("sse" if sse else "http", name or name_of_url(target), url=target)
    if isinstance(target, str | Sequence) and not isinstance(target, bytes | bytearray):
        command = _command(target)
        if transport in ("http", "sse"):
            raise InvalidRequestError(f"transport={transport!r} needs a URL that begins with http:// or https://")
        return Target("stdio", name or name_of_command(command), command=command)
    if any(base.__module__.partition(".")[0] == "mcp" for base in type(target).__mro__) and not isinstance(
        target, type
    ):
        if transport is not None:
            raise InvalidRequestError("a server in memory has no transport")
        return Target("memory", name or str(getattr(target, "name", "") or "server"), server=target)
    raise InvalidRequestError(
        f"an MCP server is a URL, a command or a server object of the mcp package, not {type(target).__name__}"
    )


def _url(target: str) -> SplitResult:
    try:
        parts = urlsplit(target)
        if parts.hostname and parts.port != 0 and target.isprintable() and " " not in target:
            return parts
    except ValueError:
        pass
    raise InvalidRequestError("the target is not a URL of an MCP server")


def _command(target: str | Sequence[object]) -> tuple[str, ...]:
    if isinstance(target, str):
        if "://" in target.split(" ")[0]:
            raise InvalidRequestError("the URL of an MCP server begins with http:// or https://")
        try:
            parts: Sequence[object] = shlex.split(target)
        except ValueError as error:
            raise InvalidRequestError(f"the command cannot be split into arguments: {error}") from None
    else:
        parts = target
    command = tuple(os.fspath(part) if isinstance(part, os.PathLike) else part for part in parts)
    if not command or not command[0] or not all(isinstance(part, str) and "\0" not in part for part in command):
        raise InvalidRequestError("a command is a program and its arguments, all of them texts")
    return tuple(str(part) for part in command)


def _headers(given: Mapping[str, str] | None) -> dict[str, str]:
    headers = _texts("headers", given)
    for name, value in headers.items():
        if not name or not f"{name}{value}".isascii() or not f"{name}{value}".isprintable():
            raise InvalidRequestError(f"headers: {name!r} or its value is not printable ASCII text")
    return headers


def _texts(what: str, given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidRequestError(f"{what} must be a dict, not {type(given).__name__}")
    for name, value in given.items():  # the value may be a secret: it is not shown
        if not isinstance(name, str) or not isinstance(value, str) or "\0" in f"{name}{value}":
            raise InvalidRequestError(f"{what}: {name!r} or its value is not a text")
    return dict(given)
