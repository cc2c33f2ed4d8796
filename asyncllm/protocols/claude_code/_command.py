"""What Claude Code is asked: its command line, its environment, and the lines that it is told.

Prompts, system prompts and secrets are never on the command line: they go through standard input, the environment or private
files.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from ...events import Audio, File, Image, InvalidRequestError, Part, Text
from .._json import to_json
from .._request import Request
from ..agents._turn import Turn
from ._control import BEGINNING, PREFIX, SERVER, ask, line

Interface = Literal["stream-json", "print", "json", "text"]
PermissionMode = Literal["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "plan"]
Source = Literal["user", "project", "local"]

PATIENCE = 24 * 3600 * 1000
"""Milliseconds that it waits for a tool of ours."""


class Command(Struct, frozen=True, kw_only=True):
    """What does not change while a process lives.

    Attributes:
        system, mcp, settings: files, if they are needed.
        resume: an id, or a file.
        id: of a new session, where its output does not name it.
        tools: whether there are tools of ours.
    """

    interface: Interface = "stream-json"
    model: str = ""
    system: str | None = None
    append_system: bool = False
    mcp: str | None = None
    strict_mcp: bool = False
    settings: str | None = None
    setting_sources: Sequence[Source] | None = None
    permission_mode: PermissionMode = "dontAsk"
    allowed_tools: Sequence[str] = ()
    disallowed_tools: Sequence[str] = ()
    builtin_tools: Sequence[str] | None = None
    add_dirs: Sequence[str] = ()
    max_turns: int | None = None
    max_budget_usd: float | None = None
    fallback_model: str | None = None
    betas: Sequence[str] = ()
    reasoning: str | int | None = None
    schema: Mapping[str, object] | None = None
    resume: str | None = None
    fork: bool = False
    id: str | None = None
    persist: bool = True
    tools: bool = False
    extra: Sequence[str] = ()


def arguments(command: Command) -> list[str]:
    """The command line after the program's name."""
    both = command.interface == "stream-json"
    form = command.interface if command.interface in ("json", "text") else "stream-json"
    line = ["--print", "--output-format", form]
    if form == "stream-json":
        line += ["--verbose", "--include-partial-messages"]
    if both:
        line += ["--input-format", "stream-json", "--permission-prompt-tool", "stdio"]
    if command.model:
        line += ["--model", command.model]
    if command.system is not None:
        line += ["--append-system-prompt-file" if command.append_system else "--system-prompt-file", command.system]
    line += ["--permission-mode", command.permission_mode]
    allowed = [*command.allowed_tools, *([f"{PREFIX}*"] if command.tools else [])]
    line += _listed("--allowedTools", allowed) + _listed("--disallowedTools", command.disallowed_tools)
    if command.builtin_tools is not None:
        line += ["--tools", ",".join(command.builtin_tools)]
    if command.mcp is not None:
        line += ["--mcp-config", command.mcp]
    if command.strict_mcp:
        line += ["--strict-mcp-config"]
    if command.settings is not None:
        line += ["--settings", command.settings]
    if command.setting_sources is not None:
        line += ["--setting-sources", ",".join(command.setting_sources)]
    for folder in command.add_dirs:
        line += ["--add-dir", folder]
    for name, value in (
        ("--max-turns", command.max_turns),
        ("--max-budget-usd", command.max_budget_usd),
        ("--fallback-model", command.fallback_model),
    ):
        if value is not None:
            line += [name, str(value)]
    line += _listed("--betas", command.betas)
    line += _thinking(command.reasoning)
    if command.schema is not None:
        line += ["--json-schema", to_json(command.schema)]
    if command.resume is not None:
        line += ["--resume", command.resume]
        line += ["--fork-session"] if command.fork else []
    if command.id is not None:
        line += ["--session-id", command.id]
    if not command.persist:
        line += ["--no-session-persistence"]
    return [*line, *command.extra]


def _listed(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}={','.join(values)}"] if values else []


def _thinking(reasoning: str | int | None) -> list[str]:
    if reasoning is None:
        return []
    if isinstance(reasoning, int):
        return ["--max-thinking-tokens", str(reasoning)]
    if reasoning == "none":
        return ["--thinking", "disabled"]
    return ["--effort", "low" if reasoning == "minimal" else reasoning]


def variables(
    request: Request,
    *,
    retries: int,
    headers: Mapping[str, str] = {},
    token: str = "",
    bearer: bool = False,
    base_url: str | None = None,
) -> dict[str, str]:
    """What the environment says. `headers` are the client's; `token` is a key, or a bearer token; that of a subscription has a
    name of its own."""
    env = {
        "CLAUDE_CODE_MAX_RETRIES": str(retries),
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",  # a stream that breaks is an error, not said twice
        "CLAUDE_CODE_EAGER_FLUSH": "1",  # the session's file is whole when the result is said
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",  # they would go on, and speak, when nobody listens
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }
    if request.tools:
        env["MCP_TOOL_TIMEOUT"] = str(PATIENCE)
    if token:
        other = "ANTHROPIC_AUTH_TOKEN" if bearer and not token.startswith("sk-ant-api") else "ANTHROPIC_API_KEY"
        env["CLAUDE_CODE_OAUTH_TOKEN" if token.startswith("sk-ant-oat") else other] = token
    if base_url is not None:
        env["ANTHROPIC_BASE_URL"] = base_url.rstrip("/").removesuffix("/v1")
    if request.max_tokens is not None:
        env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(request.max_tokens)
    if headers := {**headers, **request.extra_headers}:
        env["ANTHROPIC_CUSTOM_HEADERS"] = "\n".join(f"{name}: {value}" for name, value in headers.items())
    if request.extra_body:
        env["CLAUDE_CODE_EXTRA_BODY"] = to_json(request.extra_body)
    return env


# ---- lines


def initialize(*, tools: bool, agents: Mapping[str, object] | None = None) -> bytes:
    """The first line of a session that speaks both ways."""
    more: dict[str, object] = {"agents": agents} if agents else {}
    if tools:
        more["sdkMcpServers"] = [SERVER]
    return ask(BEGINNING, "initialize", hooks=None, **more)


def user_line(id: str, parts: Sequence[Part]) -> bytes:
    """What the user says. `id` becomes the name of the message."""
    content: object = [_block(part) for part in parts]
    if len(parts) == 1 and isinstance(only := parts[0], Text):
        content = only.text
    message = {"role": "user", "content": content}
    return line({"type": "user", "message": message, "parent_tool_use_id": None, "session_id": "", "uuid": id})


def plain_prompt(parts: Sequence[Part]) -> bytes:
    """The same where the prompt is text."""
    for part in parts:
        if not isinstance(part, Text):
            raise InvalidRequestError("claude-code: only interface='stream-json' takes images and files")
    text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    return text.encode("utf-8", "replace")


def _block(part: Part) -> dict[str, object]:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(url=str() as url) if not url.startswith("data:"):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Image():
            kind, _, data = part.as_url.removeprefix("data:").partition(";base64,")
            return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
        case File(data=bytes() as data, media_type="application/pdf" as kind):
            encoded = base64.b64encode(data).decode()
            return {"type": "document", "source": {"type": "base64", "media_type": kind, "data": encoded}}
        case Audio() | File():
            raise InvalidRequestError(f"claude-code takes texts, images and PDF files, not {type(part).__name__}")
    raise InvalidRequestError(f"claude-code: the user cannot say a {type(part).__name__}")


def key_of(turn: Turn) -> bytes:
    """Everything that a process is started with and that a request says: another of these needs another process."""
    request = turn.request
    asked = (
        request.model,
        turn.system,
        turn.tools,
        request.output,
        request.reasoning,
        request.max_tokens,
        dict(request.extra_headers),
        dict(request.extra_body),
    )
    return msgspec.json.encode(asked)
