"""The files of Codex: sessions that move, copies of them, and the configuration of one run."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from asyncllm.backends.agents._codex_files import (
    configured_provider,
    read_profile,
    read_rollout,
    restore,
    rollout_of,
    write_private,
)
from asyncllm.events import InvalidRequestError, Session
from asyncllm.protocols import Tool
from asyncllm.protocols.codex._config import flat, hidden, toml
from asyncllm.protocols.codex._rollout import copied, has_turn, last_turn, totals_in

OLD = "01a1fea1-28c0-7140-8b96-701681d0e537"
ADD = Tool("add", "Adds.", {"type": "object", "properties": {}})
SPEC = {"type": "function", "name": "add", "description": "Adds.", "inputSchema": {"type": "object", "properties": {}}}


def line(ordinal: int, kind: str, **payload: Any) -> bytes:
    stamped = {"timestamp": "2026-11-21T15:03:37.694Z", "ordinal": ordinal, "type": kind, "payload": payload}
    return json.dumps(stamped, separators=(",", ":")).encode()


def rollout(*turns: str, id: str = OLD, tools: list[Any] | None = None, start: int = 0, **meta: Any) -> bytes:
    """A thread of these turns, of which each has used 10 tokens."""
    lines = [line(start, "session_meta", id=id, session_id=id, **({"dynamic_tools": tools} if tools else {}), **meta)]
    for number, turn in enumerate(turns, 1):
        at = start + len(lines)
        total = {"input_tokens": 10 * number, "output_tokens": number}
        lines += [
            line(at, "event_msg", type="task_started", turn_id=turn),
            line(at + 1, "response_item", type="message", content=f"said in {turn}"),
            line(at + 2, "event_msg", type="token_count", info={"total_token_usage": total}),
            line(at + 3, "event_msg", type="task_complete", turn_id=turn),
        ]
    return b"\n".join([*lines, b""])


def keep(home: Path, data: bytes, name: str = OLD) -> Path:
    path = home / "sessions" / "2026" / "11" / "21" / f"rollout-2026-11-21T15-03-37-{name}.jsonl"
    write_private(path, data)
    return path


def session(**fields: Any) -> Session:
    return Session(backend="codex", id=OLD, **fields)


@pytest.mark.req("seed-F3", "F12")
def test_what_a_file_says() -> None:
    data = rollout("t1", "t2")
    assert totals_in(data) == {"input_tokens": 20, "output_tokens": 2}
    assert last_turn(data) == "t2"
    assert has_turn(data, "t1")
    assert not has_turn(data, "t3")
    assert totals_in(b"") is None
    assert totals_in(b'{"token_count" broken\n') is None


@pytest.mark.req("seed-F3")
def test_a_session_is_put_where_codex_looks_for_it(tmp_path: Path) -> None:
    """Its folders and its file are private."""
    data = rollout("t1")
    place = f"2026/11/20/rollout-2026-11-20T01-02-03-{OLD}.jsonl"
    here = restore(tmp_path, session(state=data, data={"file": place}), ())
    path = tmp_path / "sessions" / place
    assert here.id == OLD
    assert path.read_bytes() == data
    assert rollout_of(tmp_path, OLD) == path
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (path, *path.parents[:4])]
    assert modes == [0o600, 0o700, 0o700, 0o700, 0o700]


@pytest.mark.parametrize("place", ["../../evil.jsonl", "/etc/passwd", "2026/11/20/rollout-x.jsonl", 5, None])
def test_a_place_that_is_none_is_not_believed(tmp_path: Path, place: object) -> None:
    restore(tmp_path / "home", session(state=rollout("t1"), data={"file": place}), ())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name.endswith(f"-{OLD}.jsonl") for path in files] == [True]
    assert files[0].is_relative_to(tmp_path / "home" / "sessions")


def test_an_id_that_is_none_finds_nothing(tmp_path: Path) -> None:
    keep(tmp_path, rollout("t1"))
    assert rollout_of(tmp_path, "*") is None
    assert rollout_of(tmp_path, "../x") is None


@pytest.mark.req("seed-F3")
def test_what_is_there_is_not_changed(tmp_path: Path) -> None:
    """The session went on elsewhere: what is here is older, and stays; the session goes on as a copy."""
    path = keep(tmp_path, rollout("t1"))
    newer = restore(tmp_path, session(state=rollout("t1", "t2"), turn="t2"), ())
    assert newer.id != OLD
    assert path.read_bytes() == rollout("t1")
    copy = rollout_of(tmp_path, newer.id)
    assert copy is not None
    assert copy.read_bytes() == rollout("t1", "t2", id=newer.id)
    assert restore(tmp_path, session(state=rollout("t1"), turn="t1"), ()).id == OLD


def test_other_tools_make_a_copy(tmp_path: Path) -> None:
    keep(tmp_path, rollout("t1", tools=[SPEC]))
    assert restore(tmp_path, session(turn="t1"), (ADD,)).id == OLD
    without = restore(tmp_path, session(turn="t1"), ())
    assert without.id != OLD
    path = rollout_of(tmp_path, without.id)
    assert path is not None
    assert json.loads(path.read_bytes().partition(b"\n")[0])["payload"]["dynamic_tools"] == []


def test_a_copy_through_a_turn(tmp_path: Path) -> None:
    keep(tmp_path, rollout("t1", "t2"))
    made = restore(tmp_path, session(turn="t1", fork=True), (), copy=True, through="t1")
    assert not made.fork
    path = rollout_of(tmp_path, made.id)
    assert path is not None
    assert path.read_bytes() == rollout("t1", id=made.id)
    assert copied(rollout("t1"), OLD, "new", through="nobody's") == rollout("t1", id="new")


def test_a_thread_nobody_has(tmp_path: Path) -> None:
    """Codex says so itself."""
    assert restore(tmp_path, session(), ()) == session()


@pytest.mark.req("seed-F3")
def test_a_thread_in_several_files(tmp_path: Path) -> None:
    """After a turn was taken back, and in a fork, a file goes on from so many bytes of another: they move as one."""
    first = rollout("t1", "failed")
    end = len(rollout("t1"))
    base = {"thread_id": OLD, "end_ordinal_exclusive": 5, "end_byte_offset": end}
    keep(tmp_path, first)
    second = rollout("t2", start=5, history_base=base)
    path = keep(tmp_path, second, f"{OLD}_segment-2")
    os.utime(path, ns=(2**62, 2**62))
    forked = {"thread_id": "segment-2", "end_ordinal_exclusive": 10, "end_byte_offset": len(second)}
    fork = keep(tmp_path, rollout("t3", id="fork-of-it-1", start=10, history_base=forked), "fork-of-it-1")
    assert rollout_of(tmp_path, OLD) == path
    whole = read_rollout(path)
    assert whole is not None
    lines = [json.loads(text) for text in whole.splitlines()]
    assert [text["ordinal"] for text in lines] == list(range(9))
    assert "history_base" not in lines[0]["payload"]
    assert (has_turn(whole, "t1"), has_turn(whole, "failed"), has_turn(whole, "t2")) == (True, False, True)
    both = read_rollout(fork)
    assert both is not None
    lines = [json.loads(text) for text in both.splitlines()]
    assert [text["ordinal"] for text in lines] == list(range(13))
    assert {text["payload"]["id"] for text in lines if text["type"] == "session_meta"} == {"fork-of-it-1"}
    (tmp_path / "sessions" / "2026" / "11" / "21" / f"rollout-2026-11-21T15-03-37-{OLD}.jsonl").unlink()
    assert read_rollout(fork) is None


# ---- configuration


@pytest.mark.req("seed-A10")
def test_an_override_replaces_one_value() -> None:
    given = {"a": {"b": {"c": 1}}, "d.e": True, "f": {"odd key": 1}, "g": None, "h": {}}
    assert flat(given) == {"a.b.c": 1, "d.e": True, "f": {"odd key": 1}, "h": {}}


@pytest.mark.parametrize(
    "value", [True, 0, 1.5, 'a "b" \\ \n ü \u2028 \x7f', [1, "a", [True]], {"a b": {"c": [1]}}, {}]
)
def test_values_as_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


def test_what_is_no_toml() -> None:
    with pytest.raises(InvalidRequestError, match="config"):
        toml(object())


def test_secrets_of_mcp_servers_go_through_the_environment() -> None:
    servers = {
        "a": {"url": "http://x", "http_headers": {"authorization": "s1"}, "env_http_headers": {"x": "MINE"}},
        "b": {"command": "y", "env": {"TOKEN": "s2"}, "env_vars": ["PATH"]},
    }
    config, variables = hidden(servers)
    assert config == {
        "a": {"url": "http://x", "env_http_headers": {"x": "MINE", "authorization": "ASYNCLLM_MCP_0"}},
        "b": {"command": "y", "env_vars": ["PATH", "TOKEN"]},
    }
    assert variables == {"ASYNCLLM_MCP_0": "s1", "TOKEN": "s2"}


def test_profiles_and_providers_of_the_user(tmp_path: Path) -> None:
    assert configured_provider(tmp_path, None) is None
    (tmp_path / "config.toml").write_text('model_provider = "mine"\n[model_providers.mine]\nname = "x"\n')
    (tmp_path / "work.config.toml").write_text('model_provider = "openai"\n')
    (tmp_path / "bad.config.toml").write_text("= 1")
    assert configured_provider(tmp_path, None) == "mine"
    assert configured_provider(tmp_path, "work") is None
    assert configured_provider(tmp_path, "bad") == "mine"
    assert read_profile(tmp_path, "work") == {"model_provider": "openai"}
    for name in ("bad", "nobody"):
        with pytest.raises(InvalidRequestError):
            read_profile(tmp_path, name)
