"""Why a server could not be reached, as one typed error: the exceptions of the mcp package, httpx2 and the system, read."""

from __future__ import annotations

import signal

import httpx2
from mcp.shared.exceptions import MCPError
from mcp.types import CONNECTION_CLOSED

from ..events import ConnectionFailedError, ConnectTimeout, LLMError, ProtocolError
from ..events._errors import BY_KIND, unwrap
from ..protocols._error_codes import STATUS
from ._mcp_http import SessionClient
from ._mcp_stdio import ServerProcess
from ._mcp_target import Target

SHOWN = 400
"""Characters of what a server said that go into a message. More of its standard error is in the `body`."""


class Lost(Exception):
    """The server went away under a call. `not_done`: it cannot have carried it out."""

    def __init__(self, why: str, *, not_done: bool = False) -> None:
        self.not_done = not_done
        super().__init__(why)


def start_error(
    error: BaseException,
    target: Target,
    *,
    http: SessionClient | None = None,
    process: ServerProcess | None = None,
    late: float | None = None,
) -> LLMError:
    """What :meth:`MCP.acquire` raises. `late`: the limit in seconds that passed first."""
    who = f"the MCP server {target.name} ({target})"
    leaf = unwrap(error)
    if process is not None:
        return _of_process(leaf, who, target, process, late)
    if late is not None:
        return ConnectTimeout(f"{who} was not ready within {late:g} s")
    if http is not None and http.status is not None:
        return _of_status(http.status, who)
    if isinstance(leaf, LLMError):
        return leaf
    if http is not None and http.failure is not None:
        leaf = http.failure
    why = target.hide(_words(leaf))
    if isinstance(leaf, httpx2.TimeoutException):
        return ConnectTimeout(f"{who} did not answer in time: {why}")
    if isinstance(leaf, httpx2.RemoteProtocolError) and "disconnected" not in str(leaf):
        return ProtocolError(f"{who} does not speak HTTP: {why}")
    if isinstance(leaf, httpx2.SSEError):
        return ProtocolError(f"{who} does not speak MCP: {why}")
    gone = isinstance(leaf, MCPError) and leaf.code == CONNECTION_CLOSED
    if gone or isinstance(leaf, httpx2.TransportError | OSError) or target.transport == "memory":
        return ConnectionFailedError(f"{who} cannot be reached: {why}")
    return ProtocolError(f"{who} does not speak MCP: {why}")


def _of_status(status: int, who: str) -> LLMError:
    kind = STATUS.get(status) or ("server_error" if status >= 500 else "invalid_request")
    return BY_KIND[kind](f"{who} answered with HTTP {status}", status=status)


def _of_process(leaf: BaseException, who: str, target: Target, process: ServerProcess, late: float | None) -> LLMError:
    errors = target.hide(process.stderr)
    body = errors or None
    wrote = f"; its last words: {errors[-SHOWN:]}" if errors else ""
    if process.garbage is not None and not process.spoke:
        said = target.hide(process.garbage)
        return ProtocolError(f"{who} does not speak MCP; it wrote {said!r}{wrote}", body=body)
    if process.end is not None:
        return ConnectionFailedError(f"{who} {_ending(process.end)}{wrote}", body=body)
    if late is not None:
        return ConnectTimeout(f"{who} was not ready within {late:g} s{wrote}", body=body)
    if isinstance(leaf, MCPError) and leaf.code == CONNECTION_CLOSED:
        return ConnectionFailedError(f"{who} closed its output{wrote}", body=body)
    return ProtocolError(f"{who} does not speak MCP: {target.hide(_words(leaf))}{wrote}", body=body)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended at once, with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def spawn_error(error: OSError, target: Target) -> LLMError:
    """Of a command that could not be run at all."""
    who = f"the MCP server {target.name}"
    if target.cwd is not None and error.filename == target.cwd:
        return ConnectionFailedError(f"{who} cannot be started: no such directory as its cwd")
    reason = "command not found" if isinstance(error, FileNotFoundError) else error.strerror or type(error).__name__
    return ConnectionFailedError(f"{who} cannot be started: {target.command[0]!r}: {reason}")


def _words(error: BaseException) -> str:
    """What it says, on one line, clipped."""
    said = " ".join(str(error).split())[:SHOWN]
    return said if isinstance(error, MCPError) and said else f"{type(error).__name__}: {said}".removesuffix(": ")
