"""Files that an agent's program is given, and that nobody else can read."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from asyncllm.backends._private_files import Scratch, private_folder, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def lets_others_in() -> object:
    """What is private is so whatever the user's umask is."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_is_missing_is_made_private(tmp_path: Path) -> None:
    """All of it: not the last folder alone. What is there already is the user's."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    write_private(home / "a" / "b" / "c.json", b"{}")
    assert [mode(home / name) for name in ("", "a", "a/b", "a/b/c.json")] == [0o755, 0o700, 0o700, 0o600]
    private_folder(home / "a" / "b" / "d")
    private_folder(home / "a" / "b" / "d")
    assert mode(home / "a" / "b" / "d") == 0o700


def test_a_path_that_is_not_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_private(Path("a/b.json"), b"{}")
    write_private(Path("c.json"), b"[]")
    assert (tmp_path / "a" / "b.json").read_bytes() == b"{}"
    assert (tmp_path / "c.json").read_bytes() == b"[]"


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    """It becomes private, and who has it open still reads what was there."""
    path = tmp_path / "x"
    path.write_bytes(b"old and longer")
    path.chmod(0o644)
    with path.open("rb") as reader:
        write_private(path, b"new")
        assert reader.read() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """What it leads to is not ours to change."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"of the user")
    link.symlink_to(there)
    write_private(link, b"ours")
    assert there.read_bytes() == b"of the user"
    assert not link.is_symlink()
    assert link.read_bytes() == b"ours"


def test_a_folder_behind_a_link(tmp_path: Path) -> None:
    """That is where the user keeps it."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_private(tmp_path / "link" / "x", b"1")
    assert (tmp_path / "there" / "x").read_bytes() == b"1"


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it fails, what was there stays, and nothing is left beside it."""
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="no space"):
            write_private(path, b"new")
    with pytest.raises(TypeError):
        write_private(path, "no bytes")  # type: ignore[arg-type]
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("x", b"old")]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    for act in (lambda: private_folder(tmp_path / "x"), lambda: write_private(tmp_path / "x" / "y", b"")):
        with pytest.raises(OSError, match="x"):
            act()


# ---- a folder of one program's own


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_a_folder_of_its_own(temporary: Path) -> None:
    """It is there when it is needed, private, and can be removed at any time."""
    scratch = Scratch("robot")
    scratch.remove()
    assert list(temporary.iterdir()) == []
    path = Path(await scratch.filled_by(scratch.write, "a.json", b"{}"))
    other = Path(scratch.write("b.json", data=b"[]"))
    assert path.parent == other.parent
    assert path.parent.name.startswith("asyncllm-robot-")
    assert (path.read_bytes(), other.read_bytes()) == (b"{}", b"[]")
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    scratch.remove()
    assert list(temporary.iterdir()) == []


async def test_cancelled_while_it_is_filled(temporary: Path) -> None:
    """A thread cannot be cancelled: what it writes is there before the folder is removed, and not after that."""
    scratch, begun, go = Scratch("robot"), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go.wait()
        scratch.write("key", b"secret")

    task = asyncio.ensure_future(scratch.filled_by(write))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(list(temporary.iterdir())) == 1
    scratch.remove()
    assert list(temporary.iterdir()) == []
