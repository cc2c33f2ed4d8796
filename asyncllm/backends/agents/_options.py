"""What every coding agent can be told, and the environment that it is started in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from ...events import InvalidRequestError, NotFoundError
from .._registry import Settings

O = TypeVar("O", bound="AgentOptions")  # noqa: E741

INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SHELL",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "SYSTEMROOT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
)
"""Variables of ours that an agent is given. Nothing else is: neither keys of others nor settings that nobody knows of."""

ELSEWHERE = (
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
)
"""Those of them that would lead out of another HOME."""


class AgentOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every agent; each adds its own.

    Attributes:
        executable: the program, where it is not the one of its name on PATH.
        cwd: the work directory; by default that of this process.
        add_dirs: other directories that it may read and write.
        env: variables that it is given besides the few that it needs.
        home: another HOME: where it keeps its configuration and its sessions.
        isolated: a HOME of its own, made for this client and deleted with it: nothing of the user's configuration is read.
        extra_args: appended to its command line as they are.
        mcp_servers: MCP servers that it connects to itself, by name, in its own form of configuration.
        portable: read the state of the session after each turn, so that `reply.session` goes on on another machine.
        interface: how it is driven; by default the best way.
        start_timeout: seconds until it must have said its first word.
        idle_processes: how many that wait for another turn are kept.
    """

    executable: str | None = None
    cwd: str | None = None
    add_dirs: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    home: str | None = None
    isolated: bool = False
    extra_args: tuple[str, ...] = ()
    mcp_servers: Mapping[str, Mapping[str, object]] = {}
    portable: bool = True
    interface: str = ""
    start_timeout: float = 60.0
    idle_processes: int = 4

    def __repr__(self) -> str:
        """Which were given, and not what: variables, headers and settings hold secrets."""
        given = [name for name, default in _defaults(type(self)) if getattr(self, name) != default]
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def directory(self) -> str:
        """The work directory, absolute."""
        return os.path.abspath(self.cwd or os.getcwd())


def _defaults(kind: type[AgentOptions]) -> list[tuple[str, object]]:
    fields = msgspec.structs.fields(kind)
    return [(f.name, f.default_factory() if callable(f.default_factory) else f.default) for f in fields]


def take_options(agent: str, kind: type[O], settings: Settings, interfaces: tuple[str, ...]) -> O:
    """The agent's options out of the client's. Raises :class:`InvalidRequestError` for what makes no sense."""
    if settings.sdk_client is not None:
        raise InvalidRequestError(f"http_client: {agent} is a program, and is asked through no HTTP client")
    plain = {name: _plain(value) for name, value in settings.options.items()}
    try:
        options = msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(sorted(kind.__struct_fields__))
        raise InvalidRequestError(f"{agent}: {error}; it knows the options {known}") from None
    if options.interface not in ("", *interfaces):
        raise InvalidRequestError(f"{agent}: interface is one of {', '.join(interfaces)}, not {options.interface!r}")
    if options.isolated and options.home is not None:
        raise InvalidRequestError(f"{agent}: isolated=True makes a home of its own: leave out home=")
    if options.cwd is not None and not os.path.isdir(options.cwd):
        raise InvalidRequestError(f"{agent}: cwd={options.cwd!r} is no directory")
    return options


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def find_executable(agent: str, options: AgentOptions, name: str, install: str) -> str:
    """The program's path. Raises :class:`NotFoundError` that says how to install it."""
    given = options.executable or name
    found = shutil.which(given, path=options.env.get("PATH", os.environ.get("PATH")))
    if found is None:
        raise NotFoundError(
            f"{agent}: there is no program {given!r}; install it ({install}), or say where it is with executable=",
            provider=agent,
        )
    return os.path.abspath(found)


def environment(options: AgentOptions, *, home: str | None, keys: tuple[str, ...] = ()) -> dict[str, str]:
    """The whole environment of an agent: what every program needs, the agent's own credentials (`keys`) if they are set
    here, and `env`. `home` is another HOME (`options.home`, or the one of `isolated`)."""
    names = [name for name in (*INHERITED, *(() if options.isolated else keys)) if name in os.environ]
    env = {name: os.environ[name] for name in names}
    if home is not None:
        env = {name: value for name, value in env.items() if name not in ELSEWHERE}
        env["HOME"] = home
    return {**env, "TERM": "dumb", "NO_COLOR": "1", **options.env}
