"""Google Antigravity's `agy` as a backend: a process a turn (the prompt is the value of -p), or one a session.

Written from documentation and from what others have measured (1.1.3 to 1.3): no recording of the program was to be had here,
and its tests play composed streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec
from msgspec.structs import replace

from ...events import InvalidRequestError, Session, StreamEvent, ToolCall
from ...protocols.agents._turn import Turn
from ...protocols.antigravity import (
    SERVER,
    Command,
    Interface,
    StreamDecoder,
    TextDecoder,
    arguments,
    effort_of,
    plain_prompt,
    schema_of,
    settings_file,
    system_key,
    too_long,
    user_line,
)
from ...transports._process import Process
from .._private_files import write_private
from .._registry import Settings
from ._agent import AgentBackend, Channel
from ._options import AgentOptions, environment, find_executable, take_options
from ._program import exit_of, lines_or_calls, silent, start_program, tell
from ._tool_server import Call, ToolServer, ToolSession

INSTALL = "https://antigravity.google/docs/cli/install"
INTERFACES = ("print", "stdin", "text")
KEYS = (
    "GEMINI_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "AGY_ADC_AUTH",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "DBUS_SESSION_BUS_ADDRESS",
)
"""Its credentials; the last leads to the keyring, where it keeps its sign-in."""

LAST_WORDS = 5.0
"""Seconds between a result and the end of the process: an agent's servers may hold it up."""

GRACE = 2.0
"""Seconds that it is given to stop."""


class AntigravityOptions(AgentOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every agent, and these.

    Attributes:
        sandbox: run its terminal in a sandbox.
        mode: "plan", or "accept-edits": what it may do without being asked about it.
        skip_permissions: it may do everything (`--dangerously-skip-permissions`).
        settings: more for the settings.json of an isolated HOME.
    """

    sandbox: bool = True
    mode: Literal["plan", "accept-edits"] | None = None
    skip_permissions: bool = False
    settings: Mapping[str, object] = {}


def antigravity_backend(settings: Settings) -> AntigravityBackend:
    options = take_options("antigravity", AntigravityOptions, settings, INTERFACES)
    if not options.isolated:
        for name, given in (("mcp_servers", options.mcp_servers), ("settings", options.settings)):
            if given:
                raise InvalidRequestError(
                    f"antigravity: {name}= needs isolated=True: they stand in a file of its HOME, and yours is not changed"
                )
    return AntigravityBackend(options, settings.api_key, settings.base_url)


class AntigravityBackend(AgentBackend):
    REFUSED = ("stop", "extra_headers", "extra_body")

    def __init__(self, options: AntigravityOptions, api_key: str | None, base_url: str | None) -> None:
        super().__init__("antigravity", options)
        self.own = options
        self._key = api_key
        self._base_url = base_url
        self._server = ToolServer()
        self._starting = asyncio.Lock()

    @property
    def interface(self) -> Interface:
        return cast("Interface", self.own.interface or "print")

    def key_of(self, turn: Turn) -> object:
        request = turn.request
        return (request.model, schema_of(request), effort_of(request)[0], msgspec.json.encode(turn.tools))

    async def connect(self, turn: Turn) -> Channel:
        if turn.session is not None and turn.session.fork:
            raise InvalidRequestError("antigravity cannot fork a conversation, nor have two turns of one at a time")
        tools: ToolSession | None = None
        if turn.tools:
            if not self.options.isolated:
                raise InvalidRequestError(
                    "antigravity: tools of ours need isolated=True: its MCP servers stand in a file of its HOME, and yours "
                    "is not changed"
                )
            if self.interface == "text":
                raise InvalidRequestError("antigravity: interface='text' shows no tools")
            tools = (await self._server.start()).add(turn.tools)
        return AntigravityChannel(self, self.key_of(turn), tools)

    async def start(self, command: Command, prompt: str, tools: ToolSession | None) -> Process:
        executable = find_executable("antigravity", self.options, "agy", INSTALL)
        home = self.home
        env = environment(self.options, home=home, keys=KEYS)
        env.setdefault("AGY_CLI_DISABLE_AUTO_UPDATE", "true")
        if self._key is not None:
            env["GEMINI_API_KEY"] = self._key
        if self._base_url is not None:
            env["GOOGLE_GEMINI_BASE_URL"] = self._base_url
        if self.options.isolated and home is not None:
            servers = dict(self.options.mcp_servers)
            if tools is not None:
                servers[SERVER] = {"serverUrl": tools.url, "headers": tools.headers}
            own = settings_file(key="GEMINI_API_KEY" in env, servers=tuple(servers), own=self.own.settings)
            await asyncio.to_thread(_configure, Path(home), own, servers)
        line = [executable, *arguments(command, prompt)]
        return await start_program(self.name, line, env=env, cwd=self.options.directory)

    def starting(self, tools: ToolSession | None) -> contextlib.AbstractAsyncContextManager[object]:
        """Held while a process that has tools of ours reads the configuration in its HOME, which names them."""
        return contextlib.nullcontext() if tools is None else self._starting

    async def shut_down(self) -> None:
        server, self._server = self._server, ToolServer()
        await server.aclose()

    def abandon(self) -> None:
        server, self._server = self._server, ToolServer()
        self._starting = asyncio.Lock()
        server.abort()


class AntigravityChannel(Channel):
    """One turn's process, or the process of a session (`interface="stdin"`)."""

    def __init__(self, backend: AntigravityBackend, key: object, tools: ToolSession | None) -> None:
        self.key = key
        self._backend = backend
        self._tools = tools
        self._process: Process | None = None
        self._decoder: StreamDecoder | TextDecoder | None = None
        self._interface: Interface = backend.interface
        self._told = ""
        self._events: list[StreamEvent] = []  # said before they were asked for
        self._calls: list[Call] = []  # of our tools

    # ---- beginning a turn

    async def say(self, turn: Turn) -> None:
        waiting, self.waiting = self.waiting, ()
        if waiting and self._tools is not None and self._process is not None and self._process.returncode is None:
            self._tools.answer_all(waiting, turn.results)
            return
        self.reusable = False
        session = turn.session or Session(backend="antigravity", id="", cwd=self._backend.options.directory)
        if waiting and isinstance(self._decoder, StreamDecoder):  # its process is gone: another goes on from there
            session, self._process = self._decoder.session, None
        told = self._told or str(session.data.get("system", ""))
        prompt, warnings = plain_prompt(turn, told=told, interface=self._interface)
        if too_long(prompt) and self._interface == "text":
            raise InvalidRequestError("antigravity: interface='text' takes a prompt of 120 KiB at most")
        if too_long(prompt) and self._interface == "print":
            self._interface = "stdin"
        self._told = system_key(turn.system) or told
        if self._told:
            session = replace(session, data={**session.data, "system": self._told})
        effort, adapted = effort_of(turn.request)
        decoder = self._new_decoder(turn, session, (*turn.warnings, *warnings, *adapted, *_left_out(turn)))
        self._decoder = decoder
        if self._process is not None:
            await self._write(self._process, prompt)
            return
        limit = None if self._interface == "text" else self._backend.options.start_timeout
        try:
            async with asyncio.timeout(limit), self._backend.starting(self._tools):
                self._process = await self._backend.start(self._command(turn, session, effort), prompt, self._tools)
                await self._write(self._process, prompt)
                self._events = await self._read(self._process, decoder)
        except TimeoutError:
            raise silent("agy", limit, retryable=not session.id) from None

    def _command(self, turn: Turn, session: Session, effort: str | None) -> Command:
        own, total = self._backend.own, turn.request.timeout.total
        return Command(
            interface=self._interface,
            model=turn.request.model,
            conversation=session.id,
            add_dirs=own.add_dirs,
            sandbox=own.sandbox,
            mode=own.mode,
            skip_permissions=own.skip_permissions,
            effort=effort,
            schema=schema_of(turn.request),
            timeout=24 * 3600 if total is None else total + 60,  # ours come first
            extra=own.extra_args,
        )

    def _new_decoder(self, turn: Turn, session: Session, warnings: tuple[str, ...]) -> StreamDecoder | TextDecoder:
        request, resumed = turn.request, bool(session.id)
        if self._interface == "text":
            known = session if session.id else None
            return TextDecoder(model=request.model, warnings=warnings, session=known, resumed=resumed)
        return StreamDecoder(
            model=request.model,
            session=session,
            resumed=resumed,
            warnings=warnings,
            schema=request.output is not None,
            tools=frozenset(tool.name for tool in self._tools.tools) if self._tools is not None else frozenset(),
            raw=request.raw,
        )

    async def _write(self, process: Process, prompt: str) -> None:
        if self._interface == "stdin":
            await tell(process, user_line(prompt))
        else:
            process.close_stdin()

    # ---- events

    async def next(self) -> list[StreamEvent]:
        process, decoder = self._process, self._decoder
        assert process is not None
        assert decoder is not None
        events, self._events = self._events, []
        while not events:
            events = await self._read(process, decoder)
        if isinstance(decoder, StreamDecoder):
            self.session_id = decoder.session.id
        return events

    async def _read(self, process: Process, decoder: StreamDecoder | TextDecoder) -> list[StreamEvent]:
        if isinstance(decoder, StreamDecoder):
            if decoder.ending:
                return await self._settled(process, decoder)
            if self._calls:
                calls, self._calls = self._calls, []
                self.waiting = tuple(call.id for call in calls)
                return decoder.park([ToolCall(call.id, call.name, call.arguments) for call in calls])
        lines, self._calls = await lines_or_calls(process, self._tools)
        if lines is None:
            return []
        return decoder.decode_lines(lines) if lines else decoder.close(await exit_of(process, LAST_WORDS))

    async def _settled(self, process: Process, decoder: StreamDecoder) -> list[StreamEvent]:
        """After the result: what the end of the process says of it. A process of a session lives on."""
        if self._interface == "stdin" and process.returncode is None:
            self.reusable = True
            return decoder.finish()
        return decoder.close(replace(await exit_of(process, LAST_WORDS), tail=b""))

    # ---- ending

    async def interrupt(self) -> bool:
        """Its protocol knows no such message; a signal makes it write down what there is."""
        process = self._process
        if process is not None and process.returncode is None:
            process.signal(signal.SIGINT)
            await process.exited_within(GRACE)
        return False

    async def aclose(self) -> None:
        if self._tools is not None:
            self._tools.remove()
        if self._process is not None:
            await self._process.stop(GRACE)

    def abort(self) -> None:
        if self._tools is not None:
            self._tools.remove()
        if self._process is not None:
            self._process.kill()


def _left_out(turn: Turn) -> tuple[str, ...]:
    return ("antigravity knows no max_tokens: left out",) if turn.request.max_tokens is not None else ()


def _configure(home: Path, settings: Mapping[str, object], servers: Mapping[str, object]) -> None:
    """The files of a HOME that is ours alone."""
    for name, content in (
        (".gemini/antigravity-cli/settings.json", settings),
        (".gemini/config/mcp_config.json", {"mcpServers": servers}),
    ):
        write_private(home / name, msgspec.json.encode(content))
