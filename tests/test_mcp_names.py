"""Names of tools: legal for every provider, never colliding, the same from run to run; and names of servers."""

from __future__ import annotations

import random
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.tools._mcp import MCP
from asyncllm.tools._names import unique_name, wire_names

LEGAL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", re.ASCII)

names = (
    st.text(max_size=100) | st.text("ab_-.", max_size=70) | st.sampled_from(["a", "a__b", "b__c", "é", "", "x" * 63])
)


@pytest.mark.req("seed-E2")
@given(st.lists(st.tuples(names, names), unique=True, max_size=30), st.randoms())
def test_names_are_legal_distinct_and_the_same_in_any_order(
    tools: list[tuple[str, str]], chance: random.Random
) -> None:
    """Whatever servers and tools are called, and in whatever order they are listed."""
    found = wire_names(tools)
    assert len(set(found.values())) == len(tools)
    assert all(LEGAL.fullmatch(name) for name in found.values())
    shuffled = tools.copy()
    chance.shuffle(shuffled)
    assert wire_names(shuffled) == found


@pytest.mark.req("seed-E2")
def test_names_that_need_no_change_have_none() -> None:
    """`server__tool`; one that is cut keeps its beginning; and today's names are those of every day."""
    pairs = [("weather", "get"), ("weather", "x" * 80), ("weather", "x" * 81), ("my.server", "get"), ("7zip", "list")]
    found = wire_names(pairs)
    assert found["weather", "get"] == "weather__get"
    assert found["weather", "x" * 80] == "weather__" + "x" * 46 + "_50e5e690"
    assert found["my.server", "get"].startswith("my_server__get_")
    assert found["7zip", "list"].startswith("_7zip__list_")
    assert wire_names([("a", "b__c"), ("a__b", "c")]).keys() == {("a", "b__c"), ("a__b", "c")}


@given(st.lists(st.tuples(names, names), max_size=30))
def test_unique_names(wanted: list[tuple[str, str]]) -> None:
    """One after another, beside what is taken; the same name of the same thing twice, too."""
    taken: set[str] = set()
    for name, identity in wanted:
        found = unique_name(name, taken, identity)
        assert LEGAL.fullmatch(found)
        assert found not in taken
        assert found == name or name in taken or not LEGAL.fullmatch(name)
        assert found == unique_name(name, taken, identity)
        taken.add(found)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("http://host:8000/weather/mcp", "weather"),
        ("http://host:8000/weather/mcp/", "weather"),
        ("http://host:8000/weather/sse", "weather"),
        ("https://host/weather", "weather"),
        ("https://host/api/v2/mcp", "host"),
        ("http://localhost:8000/mcp", "localhost"),
        ("https://mcp.example.com", "mcp_example_com"),
        ("http://127.0.0.1:8000/mcp", "_127_0_0_1"),
        ("npx -y @scope/server-x", "server-x"),
        ("npx -y @scope/server-x@1.2.3 /data", "server-x"),
        ("npx --package @scope/x tool", "tool"),
        ("uvx mcp-server-time", "mcp-server-time"),
        ("uvx --from git+https://host/y x@latest", "x"),
        ("uv run --with mcp weather.py", "weather"),
        ("uv run python -m weather", "weather"),
        ("python -m weather", "weather"),
        ("python -m weather.server", "weather_server"),
        ("/usr/bin/python3.12 -u -X dev path/weather.py --port 1", "weather"),
        ([sys.executable, "path/weather.py"], "weather"),
        ("python -c pass", "python"),
        ("node /opt/weather/dist/index.js", "weather"),
        ("/opt/bin/weather --fast", "weather"),
        ("weather.exe", "weather"),
    ],
)
def test_a_server_is_called_after_what_it_is(target: str, name: str) -> None:
    """By its URL, or by what a command runs."""
    assert MCP(target).name == name
    assert MCP(target, name="mine").name == "mine"
