"""When a limit is over, in the words of the agents, of which there are many."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asyncllm.protocols.agents import _reset_time
from asyncllm.protocols.agents._reset_time import from_epoch, reset_time

pytestmark = pytest.mark.req("seed-A9", "seed-A10", "seed-A12")

NOW = datetime(2026, 11, 21, 14, 56, 7, tzinfo=UTC)  # a Saturday; 06:56 in Los Angeles, 15:56 in Berlin
BERLIN = ZoneInfo("Europe/Berlin")
ANGELES = ZoneInfo("America/Los_Angeles")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


SAID = {
    # as the agents say it
    "You've hit your limit · resets 4pm (America/Los_Angeles)": "2026-11-21 16:00-08:00",
    "You've hit your session limit · resets 3:53am (UTC)": "2026-11-22 03:53Z",
    "5-hour limit reached ∙ resets 3pm": "2026-11-22 15:00+01:00",
    "Claude usage limit reached. Your limit will reset at 3am (Europe/Berlin).": "2026-11-22 03:00+01:00",
    "You've hit your weekly limit · resets Nov 28, 1pm (America/New_York)": "2026-11-28 13:00-05:00",
    "resets Mon 12:00 AM": "2026-11-23 00:00+01:00",
    "Claude AI usage limit reached|1795300000": "2026-11-21 22:26:40Z",
    "Upgrade to Pro (https://openai.com/chatgpt/pricing) or try again at 3:55 AM.": "2026-11-22 03:55+01:00",
    "visit https://chatgpt.com/settings/usage or try again at Nov 25th, 2026 3:55 AM.": "2026-11-25 03:55+01:00",
    "You've hit your usage limit. Try again in 5 days 3 hours.": "2026-11-26 17:56:07Z",
    "Try again in 5 days 3 hours 20 minutes.": "2026-11-26 18:16:07Z",
    "Try again in less than a minute.": "2026-11-21 14:57:07Z",
    "Rate limit reached for gpt-5.5. Limit 3, Used 3, Requested 1. Please try again in 1.2s": "2026-11-21 14:56:08.2Z",
    "Please try again in 2s.": "2026-11-21 14:56:09Z",
    "Individual quota reached. Contact your admin. Resets in 2h18m58s": "2026-11-21 17:15:05Z",
    "Your quota will reset after 6m0s.": "2026-11-21 15:02:07Z",
    '"quotaResetDelay": "2h18m58.5s"': "2026-11-21 17:15:05.5Z",
    '"quotaResetTimeStamp": "2026-11-25T03:55:00Z"': "2026-11-25 03:55Z",
    # clocks
    "resets 4PM": "2026-11-21 16:00+01:00",
    "resets 4 p.m.": "2026-11-21 16:00+01:00",
    "resets 12am": "2026-11-22 00:00+01:00",
    "resets 12:30 a.m.": "2026-11-22 00:30+01:00",
    "resets 12 pm (UTC)": "2026-11-22 12:00Z",
    "resets at 16:00": "2026-11-21 16:00+01:00",
    "resets at 16:00:30 UTC": "2026-11-21 16:00:30Z",
    "resets: 4pm": "2026-11-21 16:00+01:00",
    "try again at 3:55\u202fAM": "2026-11-22 03:55+01:00",
    "resets at noon": "2026-11-22 12:00+01:00",
    "resets at midnight (Asia/Kolkata)": "2026-11-22 00:00+05:30",
    "resets 4pm - 5pm": "2026-11-21 16:00+01:00",
    # zones
    "resets 4pm PST": "2026-11-21 16:00-08:00",
    "resets 4pm PT": "2026-11-21 16:00-08:00",
    "resets 4pm Pacific Time": "2026-11-21 16:00-08:00",
    "resets 16:00 UTC+2": "2026-11-22 16:00+02:00",
    "resets 16:00 (GMT-03:30)": "2026-11-21 16:00-03:30",
    "resets 3pm (Etc/GMT+5)": "2026-11-21 15:00-05:00",
    "resets 3pm (Japan)": "2026-11-22 15:00+09:00",
    "resets 4pm [America/Argentina/Buenos_Aires]": "2026-11-21 16:00-03:00",
    "resets 4pm (local time)": "2026-11-21 16:00+01:00",
    "resets 4pm (see below)": "2026-11-21 16:00+01:00",
    "resets 4pm (America)": "2026-11-21 16:00+01:00",
    "resets 4pm (Nowhere/Land)": "2026-11-21 16:00+01:00",
    # days
    "resets tomorrow at 9 a.m. PT": "2026-11-22 09:00-08:00",
    "resets today at 11pm": "2026-11-21 23:00+01:00",
    "wait until 09:30 tomorrow": "2026-11-22 09:30+01:00",
    "resets Thursday 09:30": "2026-11-26 09:30+01:00",
    "Resets Mon. 4pm": "2026-11-23 16:00+01:00",
    "resets on Monday": "2026-11-23 00:00+01:00",
    "resets Saturday": "2026-11-22 00:00+01:00",
    "resets Saturday 3pm": "2026-11-28 15:00+01:00",
    "resets Nov 21": "2026-11-22 00:00+01:00",
    "resets on December 1st": "2026-12-01 00:00+01:00",
    "resets Oct 6, 1pm (America/New_York)": "2027-10-06 13:00-04:00",
    "Resets Nov. 25 at 4pm": "2026-11-25 16:00+01:00",
    "resets 25 Nov 2026 15:00": "2026-11-25 15:00+01:00",
    "retry after Wed, 25 Nov 2026 03:55:00 GMT": "2026-11-25 03:55Z",
    "available again at 3:55 AM on Nov 25th, 2026": "2026-11-25 03:55+01:00",
    "try again at 11/25/2026, 3:55:00 AM": "2026-11-25 03:55+01:00",
    "try again at 25/11/2026 15:00": "2026-11-25 15:00+01:00",
    "resets Feb 29 4am (UTC)": "2028-02-29 04:00Z",
    "try again at Nov 20th, 2026 3:55 AM": "2026-11-20 03:55+01:00",
    # ISO, epochs, fields
    "resets 2026-11-25T03:55:00Z": "2026-11-25 03:55Z",
    "resets 2026-11-25T03:55:00.123+02:00": "2026-11-25 03:55+02:00",
    "resets 2026-11-25T03:55:00+0530": "2026-11-25 03:55+05:30",
    "resets 2026-11-25 03:55:00+00": "2026-11-25 03:55Z",
    "resets at 2026-11-25 03:55": "2026-11-25 03:55+01:00",
    "resets at 2026-11-25 03:55 (UTC)": "2026-11-25 03:55Z",
    "resets 2026-11-25": "2026-11-25 00:00+01:00",
    '"resets_at": 1795300000': "2026-11-21 22:26:40Z",
    '"resetsAt":1795300000000,"more":1': "2026-11-21 22:26:40Z",
    '"resets": "1795300000"': "2026-11-21 22:26:40Z",
    '{"resets_in_seconds": 3600}': "2026-11-21 15:56:07Z",
    "resetInSeconds=90": "2026-11-21 14:57:37Z",
    "retryAfterMs: 3000": "2026-11-21 14:56:10Z",
    "Retry-After: 30": "2026-11-21 14:56:37Z",
    "try again in 30": "2026-11-21 14:56:37Z",
    # lengths
    "wait 250ms": "2026-11-21 14:56:07.250Z",
    "please try again in an hour": "2026-11-21 15:56:07Z",
    "try again in about 2 hours and 30 minutes": "2026-11-21 17:26:07Z",
    "try again in 1 week, 2 days and 3 hours": "2026-11-30 17:56:07Z",
    "Limits reset every 5 hours; try again at 16:00 (Asia/Tokyo)": "2026-11-22 16:00+09:00",
    # the value alone
    "4pm (America/Los_Angeles)": "2026-11-21 16:00-08:00",
    "2h18m58s": "2026-11-21 17:15:05Z",
    "Wed, 25 Nov 2026 03:55:00 GMT": "2026-11-25 03:55Z",
    "1795300000": "2026-11-21 22:26:40Z",
}

NOT_SAID = [
    "",
    "529 Overloaded. This is a server-side issue, usually temporary — try again in a moment. If it persists, check",
    "API Error: Repeated 529 Overloaded errors",
    "Try again later.",
    "Limits reset every 5 hours.",
    "The connection was reset by peer",
    "Connection reset at 127.0.0.1:8901",
    "connection reset after 3 bytes",
    "retry 3 of 5",
    "retry after 3 attempts",
    "Reconnecting... 2/5",
    "voted against 4pm",
    "resets 13pm",
    "resets 25:10",
    "resets Nov 31st 4pm",
    "resets today at 1pm",
    "resets in 99999999999 days",
    "exceeded retry limit, last status: 429 Too Many Requests",
    "It happened at 4pm, and it took 5 minutes",
    "30",
]


@pytest.mark.parametrize("text", SAID)
def test_what_is_said(text: str) -> None:
    """Each form, for somebody in Berlin."""
    assert reset_time(text, NOW, BERLIN) == at(SAID[text])


@pytest.mark.parametrize("text", NOT_SAID)
def test_what_is_not_said(text: str) -> None:
    """No guess is made of numbers that mean something else, or nothing."""
    assert reset_time(text, NOW, BERLIN) is None


def test_the_minute_and_the_day_under_way() -> None:
    """A clock time is a minute whose seconds were cut off, and a date a day: their ends count once they have begun."""
    assert reset_time("resets 2:56pm (UTC)", NOW) == at("2026-11-21 14:57Z")
    assert reset_time("resets 2:56pm (UTC)", NOW.replace(second=0)) == at("2026-11-21 14:57Z")
    assert reset_time("resets 2:55pm (UTC)", NOW) == at("2026-11-22 14:55Z")
    assert reset_time("resets 11:59pm (UTC)", at("2026-11-22 00:00:00Z")) == at("2026-11-22 23:59Z")
    assert reset_time("resets 11:59pm (UTC)", at("2026-11-21 23:59:59Z")) == at("2026-11-22 00:00Z")


def test_clocks_that_are_put_on_and_back() -> None:
    """Los Angeles: 2:30 is skipped on 2026-03-08, 1:30 comes twice on 2026-11-01."""
    skipped = at("2026-03-08 00:00-08:00")
    assert reset_time("resets 2:30am (America/Los_Angeles)", skipped) == at("2026-03-08 03:30-07:00")
    assert reset_time("resets 3am (America/Los_Angeles)", skipped) == at("2026-03-08 03:00-07:00")
    first, second = at("2026-11-01 01:30-07:00"), at("2026-11-01 01:30-08:00")
    text = "resets 1:30am (America/Los_Angeles)"
    assert reset_time(text, first - timedelta(hours=1)) == first
    assert reset_time(text, first + timedelta(minutes=5)) == second
    assert reset_time(text, second + timedelta(minutes=5)) == at("2026-11-02 01:30-08:00")
    dated = "try again at Nov 1st, 2026 1:30 AM"
    assert reset_time(dated, first + timedelta(minutes=5), ANGELES) == second


def test_where_there_is_no_table_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent tells the time of the machine that it runs on: so that is what an unknown zone means."""

    def unknown(key: str) -> ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(_reset_time, "ZoneInfo", unknown)
    here = timezone(timedelta(hours=-8))
    assert reset_time("resets 4pm (America/Los_Angeles)", NOW, here) == at("2026-11-21 16:00-08:00")
    assert reset_time("resets 4pm (UTC)", NOW, here) == at("2026-11-21 16:00Z")


def test_the_zone_of_this_machine() -> None:
    """Without a zone, in the text or given, it is ours."""
    local = NOW.astimezone()
    found = reset_time(f"resets {(local + timedelta(hours=2)).strftime('%H:%M')}", NOW)
    assert found is not None
    assert timedelta(hours=1, minutes=58) < found - NOW < timedelta(hours=2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1795300000, "2026-11-21 22:26:40Z"),
        (1795300000.5, "2026-11-21 22:26:40.5Z"),
        (1795300000123, "2026-11-21 22:26:40.123Z"),
        ("1795300000", "2026-11-21 22:26:40Z"),
        (0, None),
        (-5, None),
        (True, None),
        (None, None),
        ("soon", None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
        ([1795300000], None),
    ],
)
def test_epochs(value: object, expected: str | None) -> None:
    """Seconds and milliseconds, as numbers and as digits."""
    assert from_epoch(value) == (None if expected is None else at(expected))


MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))
ZONES = st.sampled_from(sorted(zoneinfo.available_timezones() - {"localtime"})).filter(lambda name: "/" in name)


@given(MOMENTS, ZONES, st.integers(0, 23), st.integers(0, 59), st.booleans())
def test_the_next_such_moment(now: datetime, zone: str, hour: int, minute: int, half: bool) -> None:
    """Whatever the zone: it is after now, within a day (and what clocks are put on), and clocks show it, or skip it."""
    said = f"{hour % 12 or 12}:{minute:02}{'pm' if hour >= 12 else 'am'}" if half else f"{hour:02}:{minute:02}"
    found = reset_time(f"resets {said} ({zone})", now)
    assert found is not None
    assert found.tzinfo is UTC
    assert timedelta() < found - now <= timedelta(days=2)  # some islands once skipped a day
    shown = found.astimezone(ZoneInfo(zone))
    if (shown.hour, shown.minute) != (hour, minute):
        begun = shown - timedelta(minutes=1)
        under_way = (begun.hour, begun.minute) == (hour, minute) and found - now <= timedelta(minutes=1)
        naive = datetime(shown.year, shown.month, shown.day, hour, minute, tzinfo=ZoneInfo(zone))
        skipped = naive.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != naive.replace(tzinfo=None)
        assert under_way or skipped


@given(MOMENTS, st.timedeltas(timedelta(seconds=1), timedelta(days=60)), st.sampled_from(["words", "letters"]))
def test_every_length(now: datetime, length: timedelta, how: str) -> None:
    """Days to seconds, in words and in letters, as they are added up by hand."""
    rest = int(length.total_seconds())
    counts = []
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            counts.append(f"{count} {name}{'s' * (count > 1)}" if how == "words" else f"{count}{name[0]}")
    assume(counts)
    said = (" " if how == "words" else "").join(counts)
    whole = timedelta(seconds=int(length.total_seconds()))
    assert reset_time(f"Quota reached. Resets in {said}.", now) == now + whole


@given(st.text() | st.text("resets tryagin 0123456789:/-+apmTZ|(),.NovUC"), MOMENTS)
def test_it_never_raises(text: str, now: datetime) -> None:
    """Whatever is said."""
    for words in (text, f"resets {text}", f"try again at {text}"):
        found = reset_time(words, now)
        assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize("now", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar(now: datetime) -> None:
    """No moment, and no exception."""
    for text in SAID:
        reset_time(text, now, BERLIN)


def test_long_texts() -> None:
    """It is read from its end, in time that grows with its length."""
    assert reset_time("x resets " * 200_000 + "resets in 5 minutes", NOW) == NOW + timedelta(minutes=5)
    assert reset_time("1" * 1_000_000, NOW) is None
