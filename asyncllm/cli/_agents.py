"""The coding agents that are installed on this machine, and the options that `chat` gives them (or any other backend)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..backends import SPECIALS
from ..backends.agents._options import AgentOptions, environment
from ..events import InvalidRequestError, LLMError
from ..transports._process import Process

PATIENCE = 15.0
"""Seconds for a program to tell its version; it may be started from a cold disk."""

OWN = ("model", "base_url", "api_key", "http_client", "fallback", "token_provider")
"""What --option does not set: these have options of their own, or are no text."""

QUIET = {
    "AGY_CLI_DISABLE_AUTO_UPDATE": "true",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
}
"""A question for the version is no reason to update."""


class Agent(Struct, frozen=True):
    """`path` is where its program is, if it is installed."""

    name: str
    program: str
    install: str
    path: str | None

    @property
    def where(self) -> str:
        return self.path if self.path is not None else f"needs {self.program}: {self.install}"


def agents() -> list[Agent]:
    return [
        Agent(special.name, special.program, special.install, shutil.which(special.program))
        for special in SPECIALS
        if special.program
    ]


async def version_of(path: str) -> str | None:
    """What `PROGRAM --version` says, in an empty HOME and without any key; None where it says nothing in time."""
    with tempfile.TemporaryDirectory(prefix="asyncllm-doctor-", ignore_cleanup_errors=True) as home:
        env = environment(AgentOptions(env=QUIET), home=home)
        try:
            process = await Process.start([path, "--version"], env=env, cwd=home)
        except OSError:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                process.close_stdin()
                said = b""
                while lines := await process.lines():
                    said = said or b"".join(line.strip() for line in lines[:1])
                code = await process.wait()
        except (TimeoutError, LLMError):
            return None
        finally:
            await process.stop()
        said = said or process.tail.strip()
        return said.decode("utf-8", "replace")[:100] if said and code == 0 else None


def backend_options(given: Sequence[str], *, cwd: Path | None = None, isolated: bool = False) -> dict[str, Any]:
    """`--option name=value`, where the value is JSON or else a text, and the two that have names. Raises
    InvalidRequestError."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise InvalidRequestError(f"--option {text!r}: write it as name=value")
        if name in OWN:
            raise InvalidRequestError(f"--option {name}: is no option of a backend")
        options[name] = _value(value)
    if cwd is not None:
        if not cwd.is_dir():
            raise InvalidRequestError(f"--cwd {cwd}: there is no such directory")
        options["cwd"] = os.fspath(cwd)
    return {**options, "isolated": True} if isolated else options


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
