"""What is measured, by name. A mode gives one table or several; see README.md for what the numbers mean."""

from __future__ import annotations

from collections.abc import Callable

from .._processes import Machine
from .._series import Table
from . import (
    among_peers,
    bursts,
    drips,
    flat,
    imports,
    loop,
    memory,
    requests,
    scaling,
    sdk,
    swarm,
    sync,
    tls,
    tools,
    wires,
)

Mode = Callable[[Machine, bool], list[Table]]
"""The second argument is whether fewer rounds will do."""

MODES: dict[str, Mode] = {
    "burst": bursts.burst,
    "coalesced": bursts.coalesced,
    "drip": drips.drip,
    "requests": requests.requests,
    "memory": memory.memory,
    "imports": imports.imports,
    "tools": tools.tools,
    "loop": loop.loop,
    "crowd": drips.crowd,
    "ends": requests.ends,
    "scaling": scaling.scaling,
    "swarm": swarm.swarm,
    "tls": tls.tls,
    "sdk": sdk.sdk,
    "sync": sync.sync,
    "flat": flat.flat,
    "wires": wires.wires,
}

AMONG_PEERS: dict[str, Mode] = {
    "burst": among_peers.burst,
    "drip": among_peers.drip,
    "requests": among_peers.requests,
    "memory": among_peers.memory,
    "loop": loop.loop,
}

__all__ = ["AMONG_PEERS", "MODES", "Mode"]
