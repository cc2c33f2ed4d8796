"""A program that plays a recording of the Codex CLI, and answers requests like it."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

from _codex import FOLDER

PROGRAM = '''#!{python} -IS
import json, os, signal, sys

folder, name = {folder!r}, {name!r}
with open(os.path.join(folder, name + ".stdout"), "rb") as file:
    recorded = file.read()
with open(os.path.join(folder, name + ".exit")) as file:
    code = int(file.read().split()[0])
with open({log!r}, "a") as log:
    log.write(json.dumps({{"argv": sys.argv[1:], "pid": os.getpid(), "env": dict(os.environ), "cwd": os.getcwd()}}) + "\\n")


def end():
    with open(os.path.join(folder, name + ".stderr"), "rb") as file:
        sys.stderr.buffer.write(file.read())
    sys.stderr.flush()
    sys.stdout.flush()
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


out = sys.stdout.buffer
if "exec" in sys.argv:
    prompt = sys.stdin.buffer.read()
    with open({log!r}, "a") as log:
        log.write(json.dumps({{"prompt": prompt.decode()}}) + "\\n")
    out.write(recorded)
    out.flush()
    end()

with open(os.path.join(folder, name + ".stdin")) as file:
    asked = [json.loads(line) for line in file]
waiting = [call for call in asked if "method" in call and "id" in call]
ids = {{}}
answers = 0


def read():
    """One message of the client: a request of the recording gets its place there, another one is answered at once."""
    global answers
    line = sys.stdin.readline()
    if not line:
        end()
    message = json.loads(line)
    with open({log!r}, "a") as log:
        log.write(line)
    if "method" not in message:
        answers += 1
        return
    if "id" not in message:
        return
    for call in waiting:
        same = call["params"].get("threadId") == message["params"].get("threadId") or call["method"] != "turn/start"
        if call["method"] == message["method"] and same:
            waiting.remove(call)
            ids[json.dumps(call["id"])] = message["id"]
            return
    out.write(json.dumps({{"id": message["id"], "result": {{}}}}).encode() + b"\\n")
    out.flush()


expected = 0
for line in recorded.split(b"\\n"):
    if not line:
        continue
    message = json.loads(line)
    if "method" not in message:
        while json.dumps(message["id"]) not in ids:
            read()
        message["id"] = ids[json.dumps(message["id"])]
        line = json.dumps(message).encode()
    out.write(line + b"\\n")
    out.flush()
    if "method" in message and "id" in message:
        expected += 1
        while answers < expected:
            read()
if b'"turn/completed"' not in recorded:
    end()
while True:
    read()
'''


def player(folder: Path, name: str) -> tuple[Path, Path]:
    """A program that plays a recording, and the file in which it notes how it was called and what it was asked."""
    program, log = folder / "codex", folder / f"{name}.log"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(FOLDER), name=name, log=str(log)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, log


def noted(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
