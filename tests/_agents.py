"""A program that plays a script: what a coding agent says, what it waits for, and how it ends. It is a real child process.

fake = player(tmp_path / "bin", "claude", [reads("user"), says(b"..."), *ends(1, "Error: ...")])
Client("claude-code/m", executable=str(fake.path), ...)
fake.runs[0].argv, fake.runs[0].stdin
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asyncllm import Client, StreamEvent

played = pytest.mark.skipif(sys.platform == "win32", reason="the program that plays an agent has a #! line")

Step = list[Any]

PROGRAM = """#!{python} -IS
import base64, json, os, signal, sys

log = open({log!r}, "a", buffering=1)
log.write(json.dumps(dict(argv=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), pid=os.getpid())) + "\\n")
with open({script!r}) as file:
    runs = json.load(file)
with open({log!r}) as file:
    number = sum('"argv"' in line for line in file) - 1
out = sys.stdout.buffer
for kind, *given in runs[min(number, len(runs) - 1)]:
    if kind == "say":
        out.write(base64.b64decode(given[0]))
        out.flush()
    elif kind == "complain":
        sys.stderr.write(given[0])
        sys.stderr.flush()
    elif kind == "read":
        for line in sys.stdin.buffer:
            log.write(json.dumps(line.decode("utf-8", "replace")) + "\\n")
            if given[0].encode() in line:
                break
        else:
            os._exit(3)
    elif kind == "drain":
        for line in sys.stdin.buffer:
            log.write(json.dumps(line.decode("utf-8", "replace")) + "\\n")
    elif kind == "write":
        path = os.path.join(os.environ["HOME"], given[0])
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
            file.write(base64.b64decode(given[1]))
    elif kind == "hold":
        signal.pause()
    elif kind == "end":
        if given[0] < 0:
            os.kill(os.getpid(), -given[0])
        os._exit(given[0])
"""


def says(data: bytes) -> Step:
    """To standard output, at once."""
    return ["say", base64.b64encode(data).decode()]


def complains(text: str) -> Step:
    """To standard error."""
    return ["complain", text]


def reads(part: str) -> Step:
    """Until it is told a line with this in it."""
    return ["read", part]


def drains() -> Step:
    """Until its input ends."""
    return ["drain"]


def writes(path: str, data: bytes) -> Step:
    """At the end of a file in its HOME."""
    return ["write", path, base64.b64encode(data).decode()]


def holds() -> Step:
    """Until somebody ends it."""
    return ["hold"]


def ends(code: int) -> Step:
    """With an exit code; negative: by a signal."""
    return ["end", code]


class Run(NamedTuple):
    """One process that was started."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    pid: int
    stdin: list[str]
    """The lines that it was told, and has read."""

    @property
    def told(self) -> list[Any]:
        return [json.loads(line) for line in self.stdin]


class Player:
    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self._log = log

    @property
    def runs(self) -> list[Run]:
        found: list[Run] = []
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(Run(**entry, stdin=[]))
            else:
                found[-1].stdin.append(entry)
        return found


def player(folder: Path, name: str, *runs: list[Step]) -> Player:
    """The program. `runs`: what each process that is started does; the last again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    path, log, script = folder / name, folder / f"{name}.log", folder / f"{name}.json"
    script.write_text(json.dumps(runs))
    path.write_text(PROGRAM.format(python=sys.executable, log=str(log), script=str(script)))
    path.chmod(0o700)
    return Player(path, log)


# ---- who drives it


async def events_of(client: Client, said: Any = "Hi", **options: Any) -> list[StreamEvent]:
    """All of a stream's events, a failure as the last one."""
    return [event async for event in client.stream(said, **options).as_events()]


def backend_of(client: Client) -> Any:
    """The backend itself, without what is around it."""
    found: Any = client._backend
    while hasattr(found, "_inner"):
        found = found._inner
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
