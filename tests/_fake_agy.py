"""A stand-in for `agy`: a program that writes down how it was started, and plays a composed stream.

FAKE_AGY_PLAY    the file of the stream, without its ending
FAKE_AGY_LOG     where its command line, environment and input go, a JSON object a line
FAKE_AGY_DO      `hold`: after the first words of an answer, wait for SIGINT; `hold_2`: in the second start only;
                 `mcp`: call a tool of its MCP server first; `linger`: stay after the result; `silent`: say nothing
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

PLAY = Path(os.environ["FAKE_AGY_PLAY"])
DO = os.environ.get("FAKE_AGY_DO", "")


def starts() -> int:
    return Path(os.environ["FAKE_AGY_LOG"]).read_text().count('"argv"')


def log(**facts: Any) -> None:
    with open(os.environ["FAKE_AGY_LOG"], "a") as file:
        file.write(json.dumps(facts) + "\n")


def write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def event(kind: str, **fields: Any) -> None:
    write(json.dumps({"event": kind, kind: {"conversation_id": "c-1", **fields}}).encode() + b"\n")


def interrupted(*_: object) -> None:
    log(signal="SIGINT")
    event("result", status="ERROR", response="", error="interrupted")
    sys.exit(1)


def call(server: dict[str, Any], method: str, params: dict[str, Any]) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **server["headers"]}
    request = urllib.request.Request(server["serverUrl"], body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read().decode()
    data = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    return json.loads(data[-1] if data else text)["result"]


def use_tools() -> None:
    config = json.loads((Path(os.environ["HOME"]) / ".gemini/config/mcp_config.json").read_text())
    server = config["mcpServers"]["asyncllm"]
    event("init")
    listed = call(server, "tools/list", {})
    event("step_update", step_index=1, state="DONE", step_type="agent_response", text_delta="I ask. ")
    shown = {"name": "call_mcp_tool", "parameters": {"ServerName": "asyncllm", "ToolName": listed["tools"][0]["name"]}}
    event("step_update", step_index=2, state="ACTIVE", step_type="tool", tool_info=shown)
    answer = call(server, "tools/call", {"name": listed["tools"][0]["name"], "arguments": {"a": 20, "b": 22}})
    text = answer["content"][0]["text"]
    event("step_update", step_index=2, state="DONE", step_type="tool", tool_info={**shown, "output": text})
    event("step_update", step_index=3, state="DONE", step_type="agent_response", text_delta=f"It is {text}.")
    event("result", status="SUCCESS", response=f"I ask. It is {text}.", usage={"input_tokens": 9, "output_tokens": 4})


def play() -> None:
    for line in PLAY.with_suffix(".stdout").read_bytes().splitlines(keepends=True):
        write(line)
        held = DO == "hold" or f"hold_{starts()}" == DO
        if held and b"text_delta" in line:
            while True:
                signal.pause()
    sys.stderr.write(PLAY.with_suffix(".stderr").read_text())
    sys.stderr.flush()


def main() -> None:
    signal.signal(signal.SIGINT, interrupted)
    names = ("HOME", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "SECRET_OF_OTHERS", "AGY_CLI_DISABLE_AUTO_UPDATE")
    log(argv=sys.argv[1:], env={name: os.environ.get(name) for name in names}, cwd=os.getcwd(), pid=os.getpid())
    if DO == "silent":
        signal.pause()
    if "--input-format" in sys.argv:
        for line in sys.stdin:
            log(stdin=json.loads(line))
            play()
        log(stdin=None)
        return
    if DO == "mcp":
        use_tools()
        return
    play()
    if DO == "linger":
        time.sleep(600)
    code = int(PLAY.with_suffix(".exit").read_text())
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


main()
