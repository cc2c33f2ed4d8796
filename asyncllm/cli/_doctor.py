"""`asyncllm doctor`: what could be wrong on this machine, one line each, with what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from msgspec import Struct

from .._client import Client
from .._version import __version__
from ..backends import VENDORS
from ..events import LLMError
from ..transports._http import build_ssl_context, fallback_reason
from ._agents import PATIENCE as VERSION_PATIENCE
from ._agents import agents, version_of
from ._exits import error_line
from ._local import LOCAL, PATIENCE, answered, local_url
from ._terminal import colors_on, one_line

BASE = ("httpx2", "httptools", "msgspec", "anyio")
EXTRAS: dict[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "bedrock": ("aioboto3",),
    "google": ("google-genai", "google-auth"),
    "mcp": ("mcp",),
    "web": ("starlette",),
    "cli": ("typer", "rich"),
    "ray": ("ray",),
    "otel": ("opentelemetry-api",),
    "uvloop": ("uvloop",),
    "litellm": ("litellm",),
}
ALONE = ("litellm",)
"""Extras that need an environment of their own, and so are not recommended in passing."""

FEW_FILES = 1024
"""Every open stream needs a file descriptor."""

_COLORS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


class Check(Struct, frozen=True):
    """One line of the report. `fix` says what to do."""

    level: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""

    def line(self, *, color: bool) -> str:
        level = f"{_COLORS[self.level]}{self.level:<4}\x1b[0m" if color else f"{self.level:<4}"
        return f"{level}  {one_line(self.what)}" + (f" -> {one_line(self.fix)}" if self.fix else "")


def versions() -> Iterable[Check]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Check("ok", f"asyncllm {__version__}, {python} on {platform.platform()}")
    found = {name: _version(name) for name in BASE}
    if missing := [name for name, at in found.items() if at is None]:
        yield Check("fail", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    yield Check("ok", "packages: " + ", ".join(f"{name} {at}" for name, at in found.items() if at is not None))


def extras() -> Iterable[Check]:
    there = [extra for extra, names in EXTRAS.items() if all(_version(name) for name in names)]
    others = [extra for extra in EXTRAS if extra not in there and extra not in ALONE]
    more = f"; others, where needed: pip install 'asyncllm[{','.join(others)}]'" if others else ""
    yield Check("ok", f"extras: {', '.join(there) or 'none'}{more}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def event_loop() -> Iterable[Check]:
    kind = type(asyncio.get_running_loop())
    uvloop = _version("uvloop")
    hint = f"; uvloop {uvloop} is installed, for programs that start with uvloop.run()" if uvloop else ""
    yield Check("ok", f"event loop: {kind.__module__}.{kind.__qualname__}{hint}")


def keys() -> Iterable[Check]:
    names = list(dict.fromkeys(name for vendor in VENDORS for name in vendor.env if os.environ.get(name)))
    if not names:
        fix = "set one, for example OPENAI_API_KEY (`asyncllm providers` lists them)"
        yield Check("warn", "keys: none in the environment", fix)
        return
    yield Check("ok", f"keys: {', '.join(names)}")
    for name in names:
        value = os.environ[name]
        if value != value.strip() or value[0] in "\"'" or not value.isascii() or not value.isprintable():
            what = f"{name} holds quotes, spaces or characters that no key has"
            yield Check("warn", what, f"set {name} again, without them")


def proxies() -> Iterable[Check]:
    reason = fallback_reason()
    if reason is None:
        yield Check("ok", "proxies: none in the environment")
    else:
        fix = "for the demo and local servers: export NO_PROXY=localhost,127.0.0.1 ('*' if no model needs the proxy)"
        yield Check("warn", f"proxies: {reason}, so the slower transport is used", fix)


def tls() -> Iterable[Check]:
    try:
        build_ssl_context(True, None, True)
    except (OSError, ssl.SSLError) as error:
        fix = "point SSL_CERT_FILE at a PEM file of certificate authorities, or unset it"
        yield Check("fail", f"TLS trust store: {error}", fix)
    else:
        yield Check("ok", f"TLS trust store loads ({ssl.OPENSSL_VERSION})")


def file_limit() -> Iterable[Check]:
    if sys.platform == "win32":
        yield Check("ok", "file descriptors: not limited here")
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = soft != resource.RLIM_INFINITY
    if limited and soft < FEW_FILES:
        yield Check("warn", f"file descriptors: {soft}, and every open stream needs one", "ulimit -n 65536")
    else:
        yield Check("ok", f"file descriptors: {soft if limited else 'not limited'}")


async def local_servers() -> list[Check]:
    answers = await asyncio.gather(*(answered(f"{local_url(vendor)}{vendor.models_path}") for vendor in LOCAL))
    found = [vendor.name for vendor, answer in zip(LOCAL, answers, strict=True) if answer is not None]
    return [Check("ok", f"local servers: {', '.join(found) or f'none answers within {PATIENCE:g} s'}")]


async def coding_agents() -> list[Check]:
    """Those that are installed, and tell their version: nothing else is asked of them."""
    found = [(agent, agent.path) for agent in agents() if agent.path is not None]
    versions = await asyncio.gather(*(version_of(path) for _, path in found))
    checks = [
        Check("ok", f"{agent.name}: {said}, {path}")
        if said is not None
        else Check(
            "warn",
            f"{agent.name}: {path} tells no version within {VERSION_PATIENCE:g} s",
            f"install it anew: {agent.install}",
        )
        for (agent, path), said in zip(found, versions, strict=True)
    ]
    others = [f"{agent.name} ({agent.install})" for agent in agents() if agent.path is None]
    return [*checks, Check("ok", f"coding agents that are not installed: {', '.join(others)}")] if others else checks


async def asks(model: str) -> list[Check]:
    """One tiny streamed request."""
    began = time.perf_counter()
    try:
        async with Client(model, retry=0, timeout=30.0, max_tokens=16) as client, client.stream("Say hi.") as stream:
            first = time.perf_counter() - began
            await stream.reply()
    except LLMError as error:
        return [Check("fail", model, error_line(error))]
    whole = time.perf_counter() - began
    return [Check("ok", f"{model} answers: first token after {first:.2f} s, the whole after {whole:.2f} s")]


async def examine(model: str | None, show: Callable[[Check], None]) -> bool:
    """Run all checks and show each when it is known; whether none failed."""
    good = True

    def told(checks: Iterable[Check]) -> None:
        nonlocal good
        for check in checks:
            good = good and check.level != "fail"
            show(check)

    for check in (versions, extras, event_loop, keys, proxies, tls, file_limit):
        told(check())
    slow: list[Awaitable[list[Check]]] = [local_servers(), coding_agents(), asks("demo/echo")]
    for waiting in slow:
        told(await waiting)
    if model is not None:
        told(await asks(model))
    return good


def run_doctor(model: str | None) -> bool:
    color = colors_on(sys.stdout)
    return asyncio.run(examine(model, lambda check: print(check.line(color=color), flush=True)))
