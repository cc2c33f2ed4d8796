"""Transport, codec and credentials joined: what can be streamed from. A vendor is a row in ``_vendors.py``."""

from ._backend import Backend, EventSource, Flow, flow_of, settled, tell_failure
from ._credentials import Credentials, TokenProvider
from ._http import HTTPBackend
from ._interrupt import Interrupt, Interrupted
from ._registry import Settings, make_backend, providers
from ._retry import Failover, Retry, RetryPolicy
from ._timed import Timed
from ._vendors import SPECIALS, VENDORS, Special, Vendor

__all__ = [
    "SPECIALS",
    "VENDORS",
    "Backend",
    "Credentials",
    "EventSource",
    "Failover",
    "Flow",
    "HTTPBackend",
    "Interrupt",
    "Interrupted",
    "Retry",
    "RetryPolicy",
    "Settings",
    "Special",
    "Timed",
    "TokenProvider",
    "Vendor",
    "flow_of",
    "make_backend",
    "providers",
    "settled",
    "tell_failure",
]
