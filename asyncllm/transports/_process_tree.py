"""What a process has started, and what those have: found before they are killed, whatever group or session they moved to.

A child whose parent dies belongs to nobody any more. So the descendants are looked up while their parents live, and known
again later by number and time of birth: a number alone may be another process by then. Linux shows their environments, too:
there, those that nobody had seen in time are known by a mark in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

MARK = "ASYNCLLM_PROCESS"
"""The variable that descendants inherit."""

ROUNDS = 50
"""How often, at most, the members of a tree are looked at until all of them stand still."""

_ROUND = 0.001
"""Seconds between two looks."""


class Entry(NamedTuple):
    """A process as the system lists it. Times of birth are of no known unit: they are only compared."""

    parent: int
    group: int
    session: int
    born: str
    frozen: bool
    """Stopped by a signal: it does nothing any more, nor is it about to."""


def listed() -> dict[int, Entry]:
    """All processes that live, by number; none where the system does not say."""
    if sys.platform == "win32":
        return {}
    if os.path.exists("/proc/self/stat"):
        entries = ((int(name), entry_of(int(name))) for name in os.listdir("/proc") if name.isdigit())
        return {pid: entry for pid, entry in entries if entry is not None}
    return _told_by_ps()


def entry_of(pid: int, *, dead: bool = False) -> Entry | None:
    """From /proc; None for one that does not live, or, if `dead`, for one that nobody has to bury."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read()
    except OSError:
        return None
    facts = text.rpartition(b")")[2].split()  # before it is a name, which may hold blanks and brackets
    if len(facts) < 20 or (facts[0] in (b"Z", b"X")) is not dead:
        return None
    return Entry(int(facts[1]), int(facts[2]), int(facts[3]), facts[19].decode(), facts[0] in (b"T", b"t"))


def has_mark(pid: int, mark: bytes) -> bool:
    """Whether its environment, as it was when its program began, shows this mark."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return mark in file.read()
    except OSError:
        return False


def _told_by_ps() -> dict[int, Entry]:
    """Sessions it does not say on every system."""
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[int, Entry] = {}
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            pid, parent, group, state, born = line.split(None, 4)
            if not state.startswith("Z"):
                found[int(pid)] = Entry(int(parent), int(group), 0, born, state.startswith("T"))
    return found


class Tree:
    """A process that leads a session, and its descendants.

    Args:
        leader: its number. It must not have been waited for yet.
        mark: what the variable :data:`MARK` of it, and of nobody else, contains.
    """

    def __init__(self, leader: int, mark: str) -> None:
        self.leader = leader
        self._mark = mark.encode()
        entry = entry_of(leader) or entry_of(leader, dead=True)
        self._born = None if entry is None else entry.born
        self._known: dict[int, str] = {}

    def look(self) -> dict[int, Entry]:
        """Those that live now, the leader among them. What was seen once is known from then on."""
        table = listed()
        leads = table.get(self.leader)
        found = {pid for pid, born in self._known.items() if pid in table and table[pid].born == born}
        # the number of a group is given to nobody while it has members: another leader means that ours has none
        if leads is None or self._born in (None, leads.born):
            found |= {pid for pid, entry in table.items() if self.leader in (pid, entry.group, entry.session)}
        if self._mark and self._born is not None:
            born = int(self._born)
            found |= {pid for pid, one in table.items() if int(one.born) >= born and has_mark(pid, self._mark)}
        children: dict[int, list[int]] = {}
        for pid, entry in table.items():
            children.setdefault(entry.parent, []).append(pid)
        unseen = list(found)
        while unseen:
            new = [pid for pid in children.get(unseen.pop(), ()) if pid not in found]
            found.update(new)
            unseen += new
        members = {pid: table[pid] for pid in found - {os.getpid(), 0, 1}}  # we never, whatever a table says
        self._known.update({pid: entry.born for pid, entry in members.items()})
        return members

    def signal_group(self, number: int) -> bool:
        """False when nobody is left in it, or it is somebody else's by now."""
        if sys.platform == "win32":
            return False
        entry = entry_of(self.leader)
        if entry is not None and self._born not in (None, entry.born):
            return False
        try:
            os.killpg(self.leader, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # of a member that is not ours; it says nothing about the others
        return True

    def kill(self) -> None:
        """All of them. First they are frozen, so that none starts another one meanwhile that nobody would know of: who has not
        stopped yet may be about to."""
        if sys.platform == "win32":
            return
        told: set[int] = set()
        for _ in range(ROUNDS):
            moving = [pid for pid, entry in self.look().items() if not entry.frozen]
            if not moving:
                break
            for pid in moving:
                if pid not in told:
                    _send(pid, signal.SIGSTOP)
            told.update(moving)
            time.sleep(_ROUND)
        self.signal_group(signal.SIGKILL)
        for pid in self.look():
            _send(pid, signal.SIGKILL)

    def left(self) -> bool:
        """Whether any that was seen still lives, but for the leader. Those that fell to us are buried, if we are the first
        process of a container."""
        alive = False
        for pid, born in list(self._known.items()):
            if pid == self.leader:
                continue
            entry = entry_of(pid)
            if entry is not None and entry.born == born:
                alive = True
                continue
            del self._known[pid]
            grave = entry_of(pid, dead=True)
            if grave is not None and grave.born == born and grave.parent == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return alive


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
