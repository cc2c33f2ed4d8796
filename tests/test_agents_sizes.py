"""Sizes, of every coding agent through `Client(...)`: a long answer, a long prompt and a long line are whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _agents import Player, Step, drains, ends, reads, says
from _agents import player as scripted
from _children import becomes, linux, state

from asyncllm import Client

pytestmark = [linux, pytest.mark.req("seed-A9", "seed-A10", "seed-A11", "seed-A12")]

PATIENCE = 10.0
SPECS = {"claude": "claude-code/m", "codex": "codex/m", "opencode": "opencode/emu/emu-1", "agy": "antigravity"}

LONG = "".join(f"{number:06d} " for number in range(30_000))
"""210 KB, of which no part is like another."""

THREAD, TURN = "01a1fc15-4ab7-7c83-ace5-c93d6f083f9f", "01a1fc15-4acd-7202-9599-944f8d403a20"


def jsonl(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(given).encode() + b"\n" for given in objects)


def in_claude_code(deltas: list[str]) -> bytes:
    text = "".join(deltas)
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    inner: list[dict[str, Any]] = [
        {"type": "message_start", "message": head},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": delta}}
            for delta in deltas
        ),
    ]
    rest: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}},
        {"type": "message_stop"},
    ]
    where = {"session_id": "aaaaaaaa-0000-4000-8000-000000000000", "parent_tool_use_id": None}
    return jsonl(
        {"type": "system", "subtype": "init", "cwd": "/", "mcp_servers": [], **where},
        *({"type": "stream_event", "event": event, **where} for event in inner),
        {"type": "assistant", "message": {**head, "content": [{"type": "text", "text": text}]}, "uuid": "u", **where},
        *({"type": "stream_event", "event": event, **where} for event in rest),
        {"type": "result", "subtype": "success", "is_error": False, "result": text, "stop_reason": "end_turn", **where},
    )


def in_codex(deltas: list[str]) -> bytes:
    where = {"threadId": THREAD, "turnId": TURN}
    item = {"type": "agentMessage", "id": "i", "text": "".join(deltas)}
    said = ({"itemId": "i", "delta": delta, **where} for delta in deltas)
    return jsonl(
        {"id": 3, "result": {"turn": {"id": TURN}}},
        {"method": "turn/started", "params": {"threadId": THREAD, "turn": {"id": TURN}}},
        *({"method": "item/agentMessage/delta", "params": params} for params in said),
        {"method": "item/completed", "params": {"item": item, **where}},
        {"method": "turn/completed", "params": {"threadId": THREAD, "turn": {"id": TURN, "status": "completed"}}},
    )


def in_codex_exec(deltas: list[str]) -> bytes:
    return jsonl(
        {"type": "thread.started", "thread_id": THREAD},
        {"type": "turn.started"},
        {"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": "".join(deltas)}},
        {"type": "turn.completed", "usage": {"input_tokens": 1, "output_tokens": 1}},
    )


def in_opencode_run(deltas: list[str]) -> bytes:
    part = {"messageID": "msg_1", "sessionID": "ses_1"}
    parts: list[dict[str, Any]] = [
        {**part, "id": "prt_1", "type": "step-start"},
        {**part, "id": "prt_2", "type": "text", "text": "".join(deltas)},
        {**part, "id": "prt_3", "type": "step-finish", "reason": "stop", "tokens": {}, "cost": 0},
    ]
    return jsonl(*({"type": part["type"].replace("-", "_"), "sessionID": "ses_1", "part": part} for part in parts))


def in_antigravity(deltas: list[str]) -> bytes:
    where = {"conversation_id": "c-1"}
    answer = {**where, "step_index": 1, "step_type": "agent_response"}
    return jsonl(
        {"event": "init", **where, "init": {"cwd": "/"}},
        *({"event": "step_update", "step_update": {**answer, "state": "ACTIVE", "text_delta": d}} for d in deltas),
        {"event": "step_update", "step_update": {**answer, "state": "DONE", "text_delta": ""}},
        {"event": "result", "result": {**where, "status": "SUCCESS", "response": "".join(deltas)}},
    )


START = jsonl({"id": 2, "result": {"thread": {"id": THREAD}, "model": "m"}})
BEFORE: dict[str, list[Step]] = {
    "claude": [reads('"type":"user"')],
    "codex": [reads("initialize"), says(jsonl({"id": 1, "result": {}})), reads("start"), says(START), reads("start")],
    "codex exec": [drains()],
    "opencode run": [drains()],
    "agy": [drains()],
    "agy stdin": [reads('"event":"user"')],
}
SAYS = {
    "claude": in_claude_code,
    "codex": in_codex,
    "codex exec": in_codex_exec,
    "opencode run": in_opencode_run,
    "agy": in_antigravity,
    "agy stdin": in_antigravity,
}
every = pytest.mark.parametrize("kind", SAYS)


def talker(folder: Path, kind: str, data: bytes, size: int = 0) -> tuple[Client, Player]:
    """A client whose agent says this, `size` bytes at a time, and is gone with its last word."""
    agent, _, interface = kind.partition(" ")
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    made = scripted(folder / "bin", agent, [*BEFORE[kind], *map(says, pieces), ends(0)])
    options: dict[str, Any] = {"interface": interface} if interface else {}
    home = folder / "home"
    home.mkdir()
    where: dict[str, Any] = {
        "executable": str(made.path),
        "cwd": str(folder),
        "home": str(home),
        "retry": 0,
        "portable": False,
    }
    return Client(SPECS[agent], **where, **options, timeout=PATIENCE), made


def pieces_of(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@every
@pytest.mark.parametrize("small", [False, True], ids=["at once", "in small pieces"])
async def test_a_long_answer_is_whole(kind: str, small: bool, tmp_path: Path) -> None:
    """Its reader has read nothing but the first word when the program is gone."""
    data = SAYS[kind](pieces_of(LONG, 50) if small else [LONG])
    client, program = talker(tmp_path, kind, data, 999 if small else 0)
    async with client, client.stream("Hi") as stream:
        await anext(aiter(stream))
        (run,) = program.runs
        await becomes(lambda: state(run.pid) is None)
        assert (await stream.reply()).text == LONG


@pytest.mark.parametrize("kind", [kind for kind in SAYS if kind != "agy"])  # it is told a long one as `agy stdin`
async def test_a_long_prompt_arrives(kind: str, tmp_path: Path) -> None:
    prompt = LONG + "ü\u2028\x85😀" * 10_000
    client, program = talker(tmp_path, kind, SAYS[kind](["Yes."]))
    async with client:
        reply = await client.complete(prompt)
    assert reply.text == "Yes."
    (run,) = program.runs
    told = "".join(run.stdin) if BEFORE[kind] == [drains()] else "".join(strings(run.told[-1]))
    assert prompt in told
    assert len(prompt.encode()) > 300_000
    assert not [word for word in run.argv if "000001" in word]


def strings(given: object) -> Iterator[str]:
    """In any JSON."""
    match given:
        case str():
            yield given
        case list():
            for inner in given:
                yield from strings(inner)
        case dict():
            yield from strings(list(given.values()))


@pytest.mark.req("I1")
@every
async def test_a_long_line_passes(kind: str, tmp_path: Path) -> None:
    text = "0123456789" * 500_000
    client, _ = talker(tmp_path, kind, SAYS[kind]([text]))
    async with client:
        reply = await client.complete("Hi")
    assert len(reply.text) == 5_000_000
    assert reply.text == text


# ---- opencode's server, which is no stream of lines


def serving(folder: Path, deltas: list[str]) -> tuple[Client, Path]:
    """A client whose opencode says this as events, and what it was told."""
    session, user, own = "ses_1", {"id": "msg_1", "role": "user"}, {"id": "msg_2", "role": "assistant"}
    done = {**own, "parentID": "msg_1", "finish": "stop", "time": {"created": 1, "completed": 2}}
    part = {"id": "prt_1", "messageID": "msg_2", "sessionID": session, "type": "text"}
    said: list[tuple[str, dict[str, Any]]] = [
        ("message.updated", {"info": {**user, "sessionID": session}}),
        ("session.status", {"status": {"type": "busy"}}),
        ("message.updated", {"info": {**own, "parentID": "msg_1", "sessionID": session, "time": {"created": 1}}}),
        ("message.part.updated", {"part": {**part, "text": ""}}),
        *(
            ("message.part.delta", {"messageID": "msg_2", "partID": "prt_1", "field": "text", "delta": delta})
            for delta in deltas
        ),
        ("message.part.updated", {"part": {**part, "text": "".join(deltas)}}),
        ("message.part.updated", {"part": {**part, "id": "prt_2", "type": "step-finish", "reason": "stop"}}),
        ("message.updated", {"info": {**done, "sessionID": session}}),
        ("session.idle", {}),
    ]
    events = ({"type": kind, "properties": {"sessionID": session, **given}} for kind, given in said)
    (folder / "long.sse").write_text("".join(f"1.0 {json.dumps(event)}\n" for event in events))
    made = {"path": "/session", "response": json.dumps({"id": session, "directory": str(folder)})}
    (folder / "long.http").write_text(json.dumps(made) + "\n")
    program = folder / "opencode"
    program.write_text(f"#!{sys.executable} -SE\n{(Path(__file__).parent / '_fake_opencode.py').read_text()}")
    program.chmod(0o700)
    env = {"FAKE": json.dumps({"folder": str(folder), "log": str(folder / "log"), "serve": "long"})}
    where: dict[str, Any] = {
        "executable": str(program),
        "cwd": str(folder),
        "home": str(folder),
        "env": env,
        "portable": False,
    }
    return Client(SPECS["opencode"], **where, retry=0, timeout=PATIENCE), folder / "log"


@pytest.mark.parametrize(
    "deltas", [[LONG], pieces_of(LONG, 50), ["0123456789" * 500_000]], ids=["at once", "in small pieces", "5 MB"]
)
async def test_opencode_serves_a_long_answer(deltas: list[str], tmp_path: Path) -> None:
    client, _ = serving(tmp_path, deltas)
    async with client:
        reply = await client.complete("Hi")
    assert reply.text == "".join(deltas)


async def test_a_long_prompt_arrives_at_opencode_s_server(tmp_path: Path) -> None:
    prompt = LONG + "ü\u2028\x85😀" * 10_000
    client, log = serving(tmp_path, ["Yes."])
    async with client:
        assert (await client.complete(prompt)).text == "Yes."
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert [prompt in "".join(strings(call["body"])) for call in told if "prompt_async" in call.get("path", "")] == [
        True
    ]
