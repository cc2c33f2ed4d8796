"""When a limit is over, out of the words in which an agent says it.

    resets 4pm (America/Los_Angeles)         try again at Nov 25th, 2026 3:55 AM
    resets Mon 12:00 AM                      Resets in 2h18m58s
    limit reached|1764000000                 try again in 5 days 3 hours

A clock time names a whole minute (agents cut the seconds off), and a date a whole day: the moment meant is its beginning, or
its end where it has begun already. Without a date it is the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from ...events import RateLimitError

LONGEST = 20_000
"""Characters that are looked at: it is the end of an error message that says when."""

REACH = 160
"""Characters after "resets" in which its time is looked for."""

_MILLISECONDS = 100_000_000_000
"""Numbers above this (the year 5138) count milliseconds."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS = {
    "utc": 0.0, "gmt": 0.0, "z": 0.0, "bst": 1.0, "cet": 1.0, "cest": 2.0, "eet": 2.0, "eest": 3.0, "msk": 3.0,
    "ist": 5.5, "sgt": 8.0, "jst": 9.0, "kst": 9.0, "aest": 10.0, "aedt": 11.0,
    "edt": -4.0, "est": -5.0, "cdt": -5.0, "cst": -6.0, "mdt": -6.0, "mst": -7.0, "pdt": -7.0, "pst": -8.0,
}  # fmt: skip
_PLACES = {
    "et": "America/New_York",
    "ct": "America/Chicago",
    "mt": "America/Denver",
    "pt": "America/Los_Angeles",
    "eastern": "America/New_York",
    "central": "America/Chicago",
    "mountain": "America/Denver",
    "pacific": "America/Los_Angeles",
}

_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "w": 604800.0,
    "wk": 604800.0,
    "week": 604800.0,
}

_CUE = re.compile(
    r"(?:reset|renew|refresh|refill|retry)[a-z]*|\b(?:again|wait|until|available)\b|limit reached\s*\|", re.I
)
_END = re.compile(
    r"[!?;\n]|(?<!\b[ap]\.m)(?<!\b(?:jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun))(?<!\bsept)\.(?=\s|$)",
    re.I,
)
_EVERY = re.compile(r"\b(?:every|each|per)\b\W*$", re.I)

_ZONE = r"""(?:\s*[(\[]?\s*(?P<zone>
      (?:utc|gmt)\s*[+\-\u2212]\s*\d{1,2}(?::?\d\d)?(?!\d) | (?<=\d)[+\-\u2212]\d\d(?::?\d\d)?(?!\d)
    | [+\-\u2212]\d\d:?\d\d(?!\d)
    | [a-z][a-z_]+(?:/[a-z0-9_+\-]+){1,2}
    | (?:eastern|central|mountain|pacific)(?=\s+(?:standard\s+|daylight\s+)?time\b)
    | (?:utc|gmt|z|bst|cet|cest|eet|eest|msk|ist|sgt|jst|kst|aest|aedt|[ecmp][ds]?t)\b
    | (?<=[(\[])[a-z][a-z0-9+\-]*(?=[)\]])
    )\s*[)\]]?)?"""
_TIME = r"""(?:
      (?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d))?(?::(?P<second>[0-5]\d)(?:[.,]\d+)?)?\s*(?P<half>[ap])\.?m\b\.?
    | (?P<hour24>[01]?\d|2[0-4]):(?P<minute24>[0-5]\d)(?::(?P<second24>[0-5]\d)(?:[.,]\d+)?)?(?![\d:])
    | (?P<word>noon|midnight)\b
    )"""
_MONTH = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_YEAR = r"(?:[,\s\-]+(?P<year>(?:19|20)\d\d)(?!\d|:))?"
_DATE = {
    "month first": rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?!:){_YEAR}",
    "day first": rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?(?:\s+of)?[\s\-]+{_MONTH}{_YEAR}",
    "numbers": r"\b(?P<first>\d{1,2})/(?P<day>\d{1,2})/(?P<year>(?:19|20)\d\d)\b",
    "iso": r"\b(?P<year>(?:19|20)\d\d)[-/](?P<first>\d\d)[-/](?P<day>\d\d)(?!\d)",
    "weekday": r"\b(?P<weekday>mon|tue|wed|thu|fri|sat|sun)(?:day|sday|s|nesday|rsday|rs|r|urday)?\b\.?",
    "relative": r"\b(?P<relative>today|tonight|tomorrow)\b",
}
_GAP = r"(?:\s*,)?\s*(?:\bat\b|@|t(?=\d)|\bby\b|-|\u2013|\u2014|\u00b7)?\s*"
_SIGNS = re.VERBOSE | re.IGNORECASE


def _forms() -> Iterator[re.Pattern[str]]:
    for date in _DATE.values():  # the verbose flag drops blanks: none of these has one that is not \s
        yield re.compile(rf"{date}{_GAP}{_TIME}{_ZONE}", _SIGNS)
        yield re.compile(rf"(?<![\d:.]){_TIME}{_ZONE}\s*,?\s*(?:on\s+)?{date}", _SIGNS)
        yield re.compile(rf"{date}{_ZONE}", _SIGNS)
    yield re.compile(rf"(?<![\d:.]){_TIME}{_ZONE}", _SIGNS)


_CLOCK = tuple(_forms())
_EPOCH = re.compile(r"(?<![\d.\-])(?P<epoch>\d{10}(?:\.\d+)?|\d{13})(?![\d.]*\d)")
_UNIT = r"ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?"
_PIECE = rf"(?:\d+(?:\.\d+)?\s*|\ban?\s+)(?:{_UNIT})(?![a-z])"
_LETTERS = re.compile(rf"(?<![\d.:\-/])\b{_PIECE}(?:(?:\s*,)?\s*(?:and\s+)?{_PIECE})*", re.I)
_PART = re.compile(rf"(?:(?P<count>\d+(?:\.\d+)?)\s*|\ban?\s+)(?P<unit>{_UNIT})(?![a-z])", re.I)
_FIELD = re.compile(
    r"""(?P<name>[\w\-]*)["']?(?:\s*[:=]\s*|\s+(?:in|after|for)\s+)["']?
    (?P<count>\d{1,8}(?:\.\d+)?)(?=\s*(?:$|["',)}\]]|\.(?!\d)))""",
    _SIGNS,
)
_FIELD_UNIT = re.compile(rf"(?:_|-|in|after|delay)(?P<unit>{_UNIT})$", re.I)
_WEEKDAY = re.compile(r"\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,\s+", re.I)


def from_epoch(value: object) -> datetime | None:
    """A count of seconds (or milliseconds) since 1970, as numbers or digits; None for what is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
        if not 0 < number < float("inf"):
            return None
        return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def reset_time(text: str, now: datetime, local: tzinfo | None = None) -> datetime | None:
    """The moment (UTC) at which, says `text`, a limit is over; None if it does not say.

    `local` is the zone of times that name none, and of those whose zone is not known here (an agent tells its user's time): by
    default that of this machine. Never raises.
    """
    text = _WEEKDAY.sub("", text[-LONGEST:])  # "Wed, 25 Nov": the date is enough
    whole = text.strip().strip("\"'()")
    try:
        for cue in _CUE.finditer(text):
            said = text[cue.end() : cue.end() + REACH]
            if (end := _END.search(said)) is not None:
                said = said[: end.start()]
            found = _field(cue[0] + said, now) or _read(said, now, local, re.Pattern.search)
            if found is not None:
                return found
        return _read(whole, now, local, re.Pattern.fullmatch)
    except (ValueError, OverflowError, OSError):  # a year or a count that no calendar has
        return None


def limited_until(error: RateLimitError, end: datetime | None, now: datetime) -> None:
    """Have the error say when its limit is over (`end`; None: nobody has said it) and, if no delay is known, how long that is
    from now."""
    error.reset_time = end or error.reset_time
    if error.reset_time is not None and error.retry_after is None:
        error.retry_after = max(0.0, (error.reset_time - now).total_seconds())


def _field(said: str, now: datetime) -> datetime | None:
    """A bare number after a name, as in JSON and headers: seconds, unless the name has another unit."""
    if (field := _FIELD.match(said)) is None:
        return None
    unit = _FIELD_UNIT.search(field["name"])
    return now.astimezone(UTC) + timedelta(seconds=float(field["count"]) * _seconds(unit["unit"] if unit else "s"))


_Look = Callable[[re.Pattern[str], str], "re.Match[str] | None"]


def _read(said: str, now: datetime, local: tzinfo | None, look: _Look) -> datetime | None:
    """What comes first in `said`; of what begins at the same place, the longest."""
    found: list[tuple[int, int, re.Match[str]]] = []
    for pattern in (*_CLOCK, _EPOCH, _LETTERS):
        if (match := look(pattern, said)) is not None and not _EVERY.search(said[: match.start()]):
            found.append((match.start(), -match.end(), match))
    at = 0
    for start, end, match in sorted(found, key=lambda place: place[:2]):
        if start >= at:
            if (moment := _moment(match, now, local)) is not None:
                return moment
            at = -end  # "today at 1pm" is over: it is not read as "today"
    return None


def _moment(match: re.Match[str], now: datetime, local: tzinfo | None) -> datetime | None:
    if match.re is _EPOCH:
        return from_epoch(match["epoch"])
    if match.re is _LETTERS:
        return now.astimezone(UTC) + sum((_length(part) for part in _PART.finditer(match[0])), timedelta())
    return _clock(match.groupdict(), now, local)


def _seconds(unit: str) -> float:
    unit = unit.lower()
    if unit.startswith("milli"):
        return 0.001
    return _SECONDS.get(unit) or _SECONDS[unit.removesuffix("s")]


def _length(part: re.Match[str]) -> timedelta:
    return timedelta(seconds=float(part["count"] or 1) * _seconds(part["unit"]))


# ---- clock and calendar


def _clock(said: dict[str, str | None], now: datetime, local: tzinfo | None) -> datetime | None:
    zone = _zone(said.get("zone"), local)
    today = now.astimezone(zone)
    timed = said.get("hour") or said.get("hour24") or said.get("word")
    time, span = (_time(said), timedelta(minutes=1)) if timed else (timedelta(), timedelta(days=1))
    if time is None:
        return None
    if said.get("year"):
        month, day = _month_and_day(said)
        moments = _instants(datetime(int(said["year"] or 0), month, day) + time, zone)
        return next((moment for moment in moments if moment > now), moments[0])
    for date in _dates(said, datetime(today.year, today.month, today.day)):
        for start in _instants(date + time, zone):
            if now < start:
                return start
            if now < start + span:
                return start + span
    return None


def _dates(said: dict[str, str | None], today: datetime) -> Iterator[datetime]:
    """Days that may be meant, the earliest first. Yesterday is one: its late hour may be under way."""
    if said.get("relative"):
        yield today + timedelta(days=1 if (said["relative"] or "").lower() == "tomorrow" else 0)
    elif said.get("month") or said.get("first"):
        month, day = _month_and_day(said)
        for year in range(today.year - 1, min(today.year + 9, 10_000)):  # eight years may pass without a 29 February
            if day <= 28 or month != 2 or _leap(year):
                yield datetime(year, month, day)
    else:
        weekday = _DAYS.index((said["weekday"] or "").lower()) if said.get("weekday") else None
        for days in range(-1, 9):
            date = today + timedelta(days=days)
            if weekday in (None, date.weekday()):
                yield date


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _month_and_day(said: dict[str, str | None]) -> tuple[int, int]:
    day = int(said["day"] or 0)
    if said.get("month"):
        return _MONTHS.index((said["month"] or "").lower()) + 1, day
    first = int(said["first"] or 0)
    return (day, first) if first > 12 else (first, day)  # 25/11/2026 can only be the one, 11/25/2026 only the other


def _time(said: dict[str, str | None]) -> timedelta | None:
    """Since midnight; None for what no clock shows."""
    if word := said.get("word"):
        return timedelta(hours=12 if word.lower() == "noon" else 24)
    if said.get("hour24"):
        found = timedelta(
            hours=int(said["hour24"] or 0), minutes=int(said["minute24"] or 0), seconds=int(said["second24"] or 0)
        )
        return found if found <= timedelta(hours=24) else None
    hour = int(said["hour"] or 0)
    if not 1 <= hour <= 12:
        return None
    half = 12 if (said["half"] or "").lower() == "p" else 0
    return timedelta(hours=hour % 12 + half, minutes=int(said["minute"] or 0), seconds=int(said["second"] or 0))


def _instants(naive: datetime, zone: tzinfo | None) -> list[datetime]:
    """The moments at which clocks show `naive`: two where they are put back; where they skip it, as if they did not."""
    moments = [naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return moments if moments[0] < moments[1] else moments[:1]


def _zone(said: str | None, local: tzinfo | None) -> tzinfo | None:
    """None is the zone of this machine, for :class:`datetime`."""
    if not said:
        return local
    name = "".join(said.lower().split())
    if name in _HOURS:
        return timezone(timedelta(hours=_HOURS[name]))
    offset = re.fullmatch(r"(?:utc|gmt)?([+\-\u2212])(\d{1,2}):?(\d\d)?", name)
    if offset is not None:
        length = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(length if offset[1] == "+" else -length)
    try:
        return ZoneInfo(_PLACES.get(name, said))
    except (KeyError, ValueError, OSError):  # no such zone, or no table of zones on this machine
        return local
