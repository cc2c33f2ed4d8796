"""OpenAI's Codex CLI as a backend: one `codex app-server` for all sessions of a client, or a `codex exec` for each turn."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ...events import InvalidRequestError
from ...protocols import Tool
from ...protocols.agents._turn import Turn
from ...protocols.codex._config import (
    BUILT_IN,
    KEY_VARIABLE,
    NO_TOOLS,
    OPENAI,
    flat,
    hidden,
    provider_config,
    retries_of,
    toml,
)
from ...protocols.codex._requests import Setup
from .._private_files import private_folder
from .._registry import Settings
from ._agent import AgentBackend, Channel
from ._codex_exec import ExecChannel
from ._codex_files import configured_provider, read_profile
from ._codex_server import AppServer
from ._codex_thread import ThreadChannel
from ._options import AgentOptions, environment, find_executable, take_options

INSTALL = "npm install -g @openai/codex"
INTERFACES = ("app-server", "exec")
ENVIRONMENT = ("CODEX_HOME", "CODEX_API_KEY")
"""Its own variables that are handed on: where its home is, and a key that was meant for it."""

MCP_GRACE_MS = 15_000
"""How long a turn waits for MCP servers that were asked for here, instead of going on without them."""

ALWAYS: Mapping[str, object] = {"features.unbounded_connection_retries": False, "check_for_update_on_startup": False}


class CodexOptions(AgentOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every agent, and these.

    Attributes:
        sandbox: what its commands may do.
        approval: when it asks for permission. There is nobody to give it: what it asks for is denied, and the model is told.
        bypass: neither sandbox nor approvals.
        profile: a profile of the user's (`$CODEX_HOME/<name>.config.toml`).
        config: laid over the user's configuration for this client, with dotted keys or nested.
        auto_compact_limit: tokens from which on it compacts the conversation.
        ephemeral: sessions are kept nowhere.
        model_provider: one of the user's configuration.
        service_tier: of the requests.
        web_search: "disabled", "cached" or "live".
        builtin_tools: whether it has its own tools (shell, plans, images, and what it tells the model about its environment).
        skip_git_check: work outside of a git repository, too (`exec`; the app-server does not check).
        append_system: developer instructions, beside its own; `system` replaces those.
    """

    sandbox: Literal["read-only", "workspace-write", "danger-full-access"] = "read-only"
    approval: Literal["untrusted", "on-request", "never"] = "never"
    bypass: bool = False
    profile: str | None = None
    config: Mapping[str, object] = {}
    auto_compact_limit: int | None = None
    ephemeral: bool = False
    model_provider: str | None = None
    service_tier: str | None = None
    web_search: Literal["disabled", "cached", "live"] | None = None
    builtin_tools: bool = True
    skip_git_check: bool = True
    append_system: str | None = None


def codex_backend(settings: Settings) -> CodexBackend:
    options = take_options("codex", CodexOptions, settings, INTERFACES)
    if settings.token_provider is not None:
        raise InvalidRequestError("codex: a token provider cannot be asked by a program: give api_key=")
    if options.model_provider and (settings.base_url or settings.api_key):
        raise InvalidRequestError(
            "codex: base_url= and api_key= make a provider of their own: leave out model_provider="
        )
    if options.interface == "exec" and options.append_system is not None:
        raise InvalidRequestError(
            "codex: append_system= needs interface='app-server': exec would show it to other users"
        )
    if options.bypass and (options.sandbox != "read-only" or options.approval != "never"):
        raise InvalidRequestError(
            "codex: bypass=True leaves no sandbox and no approvals: leave out sandbox= and approval="
        )
    return CodexBackend(options, settings.api_key, settings.base_url, settings.headers)


class CodexBackend(AgentBackend):
    REFUSED = ("stop", "extra_body", "extra_headers")

    def __init__(
        self, options: CodexOptions, api_key: str | None, base_url: str | None, headers: Mapping[str, str]
    ) -> None:
        super().__init__("codex", options)
        self.own = options
        self._key = api_key
        self._base_url = base_url
        self._headers = headers
        self._app: AppServer | None = None
        self._starting = asyncio.Lock()

    @property
    def exec(self) -> bool:
        return self.own.interface == "exec"

    # ---- what it is started with

    @property
    def codex_home(self) -> Path:
        """Where it keeps configuration, credentials and sessions."""
        given = self.options.env.get("CODEX_HOME")
        if given is None and self.home is None:
            given = os.environ.get("CODEX_HOME")
        home = self.home or self.options.env.get("HOME") or os.environ.get("HOME") or os.path.expanduser("~")
        return Path(given or Path(home, ".codex"))

    @property
    def executable(self) -> str:
        return find_executable("codex", self.options, "codex", INSTALL)

    def _environment(self) -> dict[str, str]:
        env = environment(self.options, home=self.home, keys=ENVIRONMENT)
        env["CODEX_HOME"] = str(self.codex_home)
        if (key := self._api_key()) is not None:
            env[KEY_VARIABLE] = key
        for number, value in enumerate(self._headers.values()):
            env[_header_variable(number)] = value
        return env

    def _api_key(self) -> str | None:
        """A key of ours. The environment's OPENAI_API_KEY is not taken: Codex itself would rather use its login."""
        if self._key is not None or self.own.model_provider:
            return self._key
        named = self.options.env.get("CODEX_API_KEY")
        return named if named is not None or self.options.isolated else os.environ.get("CODEX_API_KEY")

    def _config(self, retries: int) -> dict[str, object]:
        own = self.own
        config: dict[str, object] = (
            dict(flat(read_profile(self.codex_home, own.profile))) if own.profile and not self.exec else {}
        )
        config |= ALWAYS
        if not own.builtin_tools:
            config |= NO_TOOLS
        key = self._api_key()
        if self._base_url is not None or key is not None:
            headers = {name: _header_variable(number) for number, name in enumerate(self._headers)}
            config |= provider_config(self._base_url or OPENAI, key=key is not None, headers=headers, retries=retries)
        elif self._headers:
            raise InvalidRequestError(
                "codex: extra_headers= needs base_url= or api_key=: they belong to a provider of ours"
            )
        else:
            if own.model_provider is not None:
                config["model_provider"] = own.model_provider
            provider = own.model_provider or configured_provider(self.codex_home, own.profile)
            if provider and provider not in BUILT_IN:
                config |= {f"model_providers.{provider}.{name}": n for name, n in retries_of(retries).items()}
        if own.auto_compact_limit is not None:
            config["model_auto_compact_token_limit"] = own.auto_compact_limit
        if own.web_search is not None:
            config["web_search"] = own.web_search
        if own.add_dirs:
            config["sandbox_workspace_write.writable_roots"] = [os.path.abspath(folder) for folder in own.add_dirs]
        if own.mcp_servers:
            config["mcp_optional_startup_grace_ms"] = MCP_GRACE_MS
        return config | flat(own.config)

    def _setup(self, turn: Turn) -> tuple[Setup, dict[str, str]]:
        """What the thread of a turn is made with, and variables for its environment."""
        own = self.own
        servers = {
            name: {"default_tools_approval_mode": "approve", **server} for name, server in own.mcp_servers.items()
        }
        variables: dict[str, str] = {}
        mcp: Mapping[str, object] = servers
        if self.exec:
            mcp, variables = hidden(servers)
        resumed = turn.session is not None
        config = {**self._config(2 if self.exec and resumed else 0), **({"mcp_servers": mcp} if mcp else {})}
        setup = Setup(
            cwd=self.options.directory,
            sandbox="danger-full-access" if own.bypass else own.sandbox,
            approval=own.approval,
            config=config,
            system=turn.system,
            append=own.append_system,
            tools=self._tools(turn),
            ephemeral=own.ephemeral,
            service_tier=own.service_tier,
        )
        return setup, variables

    def _tools(self, turn: Turn) -> tuple[Tool, ...]:
        if turn.tools and self.exec:
            raise InvalidRequestError("codex exec knows no tools of ours: leave out interface='exec'")
        return turn.tools

    def key_of(self, turn: Turn) -> object:
        return (turn.system, msgspec.json.encode(self._tools(turn)))

    # ---- channels

    async def connect(self, turn: Turn) -> Channel:
        setup, variables = await asyncio.to_thread(self._setup, turn)
        if self.exec:
            await asyncio.to_thread(private_folder, self.codex_home)
            return ExecChannel(self, setup, {**self._environment(), **variables}, self.key_of(turn))
        return await ThreadChannel.attached(self, await self.server(), setup, self.key_of(turn), turn)

    async def server(self) -> AppServer:
        """The one that runs; a new one where none does."""
        async with self._starting:
            if self._app is not None and self._app.gone:
                old, self._app = self._app, None
                await old.aclose()
            if self._app is None:
                await asyncio.to_thread(private_folder, self.codex_home)
                arguments = [f"{key}={toml(value)}" for key, value in ALWAYS.items()]
                flags = [word for argument in arguments for word in ("-c", argument)]
                command = [self.executable, "app-server", *flags, *self.options.extra_args]
                cwd, limit = self.options.directory, self.options.start_timeout
                self._app = await AppServer.start(command, env=self._environment(), cwd=cwd, timeout=limit)
                weakref.finalize(self, self._app.abort)
            return self._app

    async def shut_down(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            await app.aclose()

    def abandon(self) -> None:
        self._starting = asyncio.Lock()
        app, self._app = self._app, None
        if app is not None:
            app.abort()


def _header_variable(number: int) -> str:
    return f"ASYNCLLM_CODEX_HEADER_{number}"
