"""Claude Code as a backend: a process a session, which speaks JSON lines both ways and is kept for the next turn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from ...events import InvalidRequestError
from ...protocols import Request
from ...protocols.agents._turn import Turn
from ...protocols.claude_code import SERVER, Command, Interface, PermissionMode, Source, arguments, key_of, variables
from .._credentials import Credentials
from .._private_files import Scratch
from .._registry import Settings
from ._agent import AgentBackend, Channel
from ._claude_code_channel import ClaudeCodeChannel
from ._claude_code_files import Resumed, as_json
from ._options import AgentOptions, environment, find_executable, take_options

NAME = "claude-code"
INSTALL = "npm install -g @anthropic-ai/claude-code"
INTERFACES = ("stream-json", "print", "json", "text")

KEYS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_CONFIG_DIR",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "AWS_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "ANTHROPIC_VERTEX_PROJECT_ID",
    "CLOUD_ML_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_RESOURCE",
)
"""Its credentials, and what says where they are good."""

RETRIES = 2
"""How often it tries again itself in a session that is gone on with."""


class ClaudeCodeOptions(AgentOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every agent, and these.

    Attributes:
        permission_mode: what it does about tools that need permission. By default it asks nobody, and uses only those that
            need none, and `allowed_tools`; with `can_use_tool` it asks.
        can_use_tool: called with the name of a tool and its arguments; whether it may be used. May be async.
        allowed_tools, disallowed_tools: rules, as in `"Bash(git *)"`, `"mcp__calc__*"`.
        builtin_tools: those of its own tools that there are at all; () for none, None for its own set.
        append_system: the system prompt is added to its own, in place of replacing it.
        max_turns: answers of the model in one turn.
        max_budget_usd: what one process may spend.
        settings: more settings: as a mapping, as JSON, or the path of a file with them.
        setting_sources: which of the user's settings it reads; with `isolated=True` none.
        strict_mcp: only the MCP servers that are given here; always so with `isolated=True`.
        fallback_model: what it uses while its model is overloaded.
        betas: values of the `anthropic-beta` header.
        agents: sub-agents, by name: {"description": ..., "prompt": ...}.
        retries: how often it sends a failed request again itself. By default never in a new session, where the client does,
            and 2 times in one that is gone on with.
        persist: whether it writes the session down; else it cannot be gone on with.
    """

    permission_mode: PermissionMode | None = None
    can_use_tool: Any = None
    allowed_tools: tuple[str, ...] = ()
    disallowed_tools: tuple[str, ...] = ()
    builtin_tools: tuple[str, ...] | None = None
    append_system: bool = False
    max_turns: int | None = None
    max_budget_usd: float | None = None
    settings: Mapping[str, object] | str | None = None
    setting_sources: tuple[Source, ...] | None = None
    strict_mcp: bool = False
    fallback_model: str | None = None
    betas: tuple[str, ...] = ()
    agents: Mapping[str, Mapping[str, object]] = {}
    retries: int | None = None
    persist: bool = True


def claude_code_backend(settings: Settings) -> ClaudeCodeBackend:
    options = take_options(NAME, ClaudeCodeOptions, settings, INTERFACES)
    if SERVER in options.mcp_servers:
        raise InvalidRequestError(f"{NAME}: {SERVER!r} is the name of the server that has your Python tools")
    if options.interface not in ("", "stream-json"):
        for name in ("agents", "can_use_tool"):
            if getattr(options, name):
                raise InvalidRequestError(f"{NAME}: {name}= needs interface='stream-json'")
    return ClaudeCodeBackend(options, settings)


class ClaudeCodeBackend(AgentBackend):
    def __init__(self, options: ClaudeCodeOptions, settings: Settings) -> None:
        super().__init__(NAME, options)
        self.own = options
        self._settings = settings

    @property
    def interface(self) -> Interface:
        return cast("Interface", self.own.interface or "stream-json")

    def key_of(self, turn: Turn) -> object:
        return key_of(turn)

    async def connect(self, turn: Turn) -> Channel:
        return ClaudeCodeChannel(self, self.key_of(turn))

    # ---- for the channels

    def check(self, turn: Turn) -> None:
        """Raises :class:`InvalidRequestError` for what it cannot do."""
        if turn.tools and self.interface != "stream-json":
            raise InvalidRequestError(f"{NAME}: tools of yours need interface='stream-json'")

    async def environment_of(self, request: Request, *, resumed: bool) -> dict[str, str]:
        """The whole environment of a process. The token provider is asked for a token now."""
        given, home = self._settings, self.home
        env = environment(self.own, home=home, keys=KEYS)
        if home is not None and "CLAUDE_CONFIG_DIR" not in self.own.env:
            env.pop("CLAUDE_CONFIG_DIR", None)  # it leads out of the other HOME
        token = ""
        if given.api_key is not None or given.token_provider is not None:
            for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"):
                if name not in self.own.env:
                    env.pop(name, None)
            token = await Credentials(NAME, api_key=given.api_key, token_provider=given.token_provider).token()
        retries = self.own.retries if self.own.retries is not None else RETRIES if resumed else 0
        bearer = given.token_provider is not None
        said = variables(
            request, retries=retries, headers=given.headers, token=token, bearer=bearer, base_url=given.base_url
        )
        return {**env, **said, **self.own.env}

    def command(self, turn: Turn, scratch: Scratch, resumed: Resumed | None, id: str | None) -> list[str]:
        """The command line, and the files that it names."""
        own, request = self.own, turn.request
        isolated = own.isolated and own.setting_sources is None
        mode: PermissionMode = "default" if own.can_use_tool is not None else "dontAsk"
        settings = own.settings
        if isinstance(settings, str) and settings.lstrip().startswith("{"):
            settings = scratch.write("settings.json", settings.encode("utf-8", "replace"))
        elif settings is not None and not isinstance(settings, str):
            settings = scratch.write("settings.json", as_json(settings))
        command = Command(
            interface=self.interface,
            model=request.model,
            system=scratch.write("system.txt", turn.system.encode("utf-8", "replace")) if turn.system else None,
            append_system=own.append_system,
            mcp=scratch.write("mcp.json", as_json({"mcpServers": own.mcp_servers})) if own.mcp_servers else None,
            strict_mcp=own.strict_mcp or own.isolated,
            settings=os.path.abspath(settings) if settings is not None else None,
            setting_sources=() if isolated else own.setting_sources,
            permission_mode=own.permission_mode or mode,
            allowed_tools=own.allowed_tools,
            disallowed_tools=own.disallowed_tools,
            builtin_tools=own.builtin_tools,
            add_dirs=[os.path.abspath(folder) for folder in own.add_dirs],
            max_turns=own.max_turns,
            max_budget_usd=own.max_budget_usd,
            fallback_model=own.fallback_model,
            betas=own.betas,
            reasoning=request.reasoning,
            schema=request.output.schema if request.output is not None else None,
            resume=resumed.name if resumed is not None else None,
            fork=resumed is not None and resumed.fork,
            id=id,
            persist=own.persist,
            tools=bool(turn.tools),
            extra=own.extra_args,
        )
        return [find_executable(NAME, own, "claude", INSTALL), *arguments(command)]
