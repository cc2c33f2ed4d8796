"""opencode as a backend: on its server (`opencode serve`, the default), or as a program that is run for each turn."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import msgspec
from msgspec.structs import replace

from ...events import InvalidRequestError, LLMError, NotFoundError, ServerError, Session
from ...protocols.agents._exit import Exit
from ...protocols.agents._turn import Turn
from ...protocols.opencode._config import OWN_TOOLS, session_rules, tool_server
from ...protocols.opencode._errors import NAME, exit_error
from ...protocols.opencode._request import check, prompt
from ...protocols.opencode._state import Exported, check_id, field, read_messages, read_rules, read_state
from .._private_files import Scratch
from .._registry import Settings
from ._agent import AgentBackend, Channel
from ._opencode_channel import ServeChannel
from ._opencode_options import INTERFACES, Launch, OpencodeOptions, plain
from ._opencode_parked import OpencodeBackend, told_results
from ._opencode_server import OpencodeServer
from ._options import take_options
from ._program import start_program
from ._tool_server import ToolServer, ToolSession


def opencode_backend(settings: Settings) -> AgentBackend:
    options = take_options(NAME, OpencodeOptions, settings, INTERFACES)
    if options.interface in ("run", "text"):
        from ._opencode_run import RunBackend

        return RunBackend(options, settings)
    return ServeBackend(options, settings)


class ServeBackend(OpencodeBackend):
    """One server; another only for a model whose provider is described by the client."""

    options: OpencodeOptions

    def __init__(self, options: OpencodeOptions, settings: Settings) -> None:
        super().__init__(NAME, options)
        self._launch = Launch(options, settings)
        self._servers: dict[str, OpencodeServer] = {}
        self._starting: dict[str, asyncio.Task[OpencodeServer]] = {}
        self._tools = ToolServer()

    def _server_key(self, turn: Turn) -> str:
        model = turn.request.model
        return model if self._launch.access(model) is not None else ""

    def key_of(self, turn: Turn) -> object:
        server = self._servers.get(self._server_key(turn))
        return (None if server is None or server.gone else id(server), plain(turn.tools))

    # ---- sessions

    async def connect(self, turn: Turn) -> Channel:
        check(turn.request)  # what it cannot do or say is known before anything is started
        prompt(turn, agent=None, variant=None)
        server = await self._server(turn)
        found, messages = Session(backend=NAME, id="", cwd=self.options.directory), list[str]()
        if turn.session is not None:
            check_id(turn.session.id)
            found, messages = await self._found(server, turn, turn.session)
        tools = await self._own_tools(server, turn, found.cwd)
        try:
            number = 0 if tools is None else tools.number
            await server.listen(found.cwd)
            if found.id:
                earlier = read_rules(await server.call("GET", f"/session/{found.id}", directory=found.cwd))
                if rules := session_rules(number, self._launch.rules, earlier):
                    await server.call("PATCH", f"/session/{found.id}", {"permission": rules}, directory=found.cwd)
            else:
                rules = session_rules(number, self._launch.rules)
                body = {"title": self.options.title, "permission": rules}
                made = await server.call("POST", "/session", body, directory=found.cwd)
                found = replace(found, id=str(field(made, "id") or ""), cwd=str(field(made, "directory") or found.cwd))
            return ServeChannel(
                server,
                self.options,
                found,
                key=self.key_of(turn),
                tools=tools,
                after=messages[-1] if messages else "",
                warnings=(*told_results(turn), *await self._lost_servers(server, found.cwd)),
            )
        except BaseException:
            if tools is not None:
                tools.remove()
            raise

    async def _found(self, server: OpencodeServer, turn: Turn, session: Session) -> tuple[Session, list[str]]:
        """The session on this machine, and its messages: brought here if it is not, and forked if need be."""
        directory, messages = await self._look_up(server, session)
        missing = messages is None or (session.turn and session.turn not in messages)
        if missing and session.state is not None:
            directory = await self._import(turn, session)
            directory, messages = await self._look_up(server, replace(session, cwd=directory))
        if messages is None or (session.turn and session.turn not in messages):
            what = "there is no such session here" if messages is None else "the session has no such turn"
            raise NotFoundError(f"opencode: {what}, and no state to make it from: {session.id}")
        here = replace(session, cwd=directory or session.cwd)
        newer = messages[messages.index(session.turn) + 1 :] if session.turn else []
        if newer or session.fork:
            body = {"messageID": newer[0]} if newer else {}
            made = await server.call("POST", f"/session/{session.id}/fork", body, directory=here.cwd)
            here = replace(here, id=str(field(made, "id") or ""))
            messages = read_messages(await server.call("GET", f"/session/{here.id}/message", directory=here.cwd))
        return here, messages

    async def _look_up(self, server: OpencodeServer, session: Session) -> tuple[str, list[str] | None]:
        directory = _directory(session.cwd, self.options.directory)
        try:
            info = await server.call("GET", f"/session/{session.id}", directory=directory)
            messages = await server.call("GET", f"/session/{session.id}/message", directory=directory)
        except NotFoundError:
            return "", None
        return _directory(str(field(info, "directory")), directory), read_messages(messages)

    async def _import(self, turn: Turn, session: Session) -> str:
        """Bring a session of another machine here. The directory that it belongs to from now on."""
        directory = self.options.directory
        if self.options.cwd is None:
            directory = _directory(session.cwd, directory)
        await import_state(self._launch, self.home, turn.request.model, session, directory, self.options.start_timeout)
        return directory

    # ---- what sessions share

    async def _server(self, turn: Turn) -> OpencodeServer:
        """The server that runs, or a new one. Started once, however many wait for it."""
        key = self._server_key(turn)
        server = self._servers.get(key)
        if server is not None and not server.gone:
            return server
        starting = self._starting.get(key)
        if starting is None:
            starting = asyncio.get_running_loop().create_task(self._start(key, turn.request.model))
            self._starting[key] = starting
            starting.add_done_callback(_seen)
        return await asyncio.shield(starting)

    async def _start(self, key: str, model: str) -> OpencodeServer:
        try:
            old = self._servers.pop(key, None)
            if old is not None:
                await old.aclose()
            options = self.options
            server = await OpencodeServer.start(
                self._launch.command(),
                env=self._launch.environment(self.home, model),
                cwd=options.directory,
                patience=options.start_timeout,
                extra=options.extra_args,
            )
            self._servers[key] = server
            return server
        finally:
            self._starting.pop(key, None)

    async def _own_tools(self, server: OpencodeServer, turn: Turn, directory: str) -> ToolSession | None:
        if not turn.tools:
            return None
        session = (await self._tools.start()).add(turn.tools)
        name = f"{OWN_TOOLS}{session.number}"
        try:
            body = {"name": name, "config": tool_server(session.url, session.headers)}
            answer = field(await server.call("POST", "/mcp", body, directory=directory), name)
            if not isinstance(answer, dict) or answer.get("status") != "connected":
                raise ServerError(f"opencode did not connect to the server of our tools: {_status(answer)}")
        except BaseException:
            session.remove()
            raise
        return session

    async def _lost_servers(self, server: OpencodeServer, directory: str) -> tuple[str, ...]:
        """Those of the client's MCP servers that opencode could not reach."""
        if not self.options.mcp_servers:
            return ()
        try:
            states = msgspec.json.decode(await server.call("GET", "/mcp", directory=directory), type=dict[str, Any])
        except (LLMError, msgspec.DecodeError):
            return ()
        lost = [(name, states.get(name)) for name in self.options.mcp_servers]
        return tuple(
            f"MCP server {name}: {_status(state)}"
            for name, state in lost
            if not isinstance(state, dict) or state.get("status") != "connected"
        )

    async def shut_down(self) -> None:
        tools, self._tools = self._tools, ToolServer()
        starting, self._starting = dict(self._starting), {}
        for task in starting.values():
            task.cancel()
        await asyncio.gather(*starting.values(), return_exceptions=True)
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.aclose() for server in servers.values()))
        await tools.aclose()

    def abandon(self) -> None:
        tools, self._tools = self._tools, ToolServer()
        servers, self._servers, self._starting = self._servers, {}, {}
        for server in servers.values():
            server.abort()
        with contextlib.suppress(RuntimeError):  # its loop is closed
            tools.abort()


async def import_state(
    launch: Launch, home: str | None, model: str, session: Session, directory: str, patience: float
) -> Exported:
    """`opencode import`: the session exists on this machine, and belongs to the directory. Raises LLMError."""
    exported = read_state(session.state or b"")
    if exported is None or exported.info.id != session.id:
        raise InvalidRequestError(f"opencode: the state is not one of the session {session.id}")
    scratch = Scratch(NAME)
    try:
        path = await scratch.filled_by(scratch.write, "session.json", session.state or b"")
        await finished([*launch.command(), "import", path], launch.environment(home, model), directory, patience)
    finally:
        scratch.remove()
    return exported


async def finished(command: list[str], env: dict[str, str], directory: str, patience: float) -> bytes:
    """What a command has written. Raises LLMError if it failed."""
    process = await start_program(NAME, command, env=env, cwd=directory)
    try:
        async with asyncio.timeout(patience):
            process.close_stdin()
            lines: list[bytes] = []
            while more := await process.lines():
                lines += more
            code = await process.wait()
    except TimeoutError:
        raise ServerError(f"opencode {command[1]} took longer than {patience:g} s (start_timeout=)") from None
    finally:
        await process.stop(0)
    if code:
        raise exit_error(Exit(code, process.stderr, b""), said=True)
    return b"\n".join([*lines, process.tail])


def _seen(task: asyncio.Task[OpencodeServer]) -> None:
    """Its failure is told to whoever waits for it, if anybody still does."""
    if not task.cancelled():
        task.exception()


def _directory(wanted: str, otherwise: str) -> str:
    return wanted if os.path.isdir(wanted) else otherwise


def _status(state: object) -> str:
    if not isinstance(state, dict):
        return "not there"
    error = state.get("error")
    return f"{state.get('status')}: {error}" if error else str(state.get("status"))
