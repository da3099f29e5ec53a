"""Which backups stay: a pure function of when they were made and what is to be kept. Days, weeks, months are UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable

from mlflow_provision.agent.backup.settings import Keep
from mlflow_provision.agent.protocol import AgentError


@dataclass(frozen=True)
class Stamp:
    """What is to be known of a backup. `sequence` orders them, whatever clocks did; `at` is seconds since 1970.

    `good`: its manifest can be read, and every object that it names is there.
    """

    id: str
    sequence: int
    at: float
    good: bool


@dataclass(frozen=True)
class Decision:
    """Keep it or not, and every reason for that."""

    id: str
    keep: bool
    reasons: list[str]


def decide(stamps: Sequence[Stamp], keep: Keep) -> list[Decision]:
    """One decision for each, newest first. Raises AgentError of kind "policy" for one that would keep nothing.

    The newest good one stays, whatever the policy says, and so does what is newer. One that is not good takes the place
    of none that is: the policy is applied to the good ones by themselves, and once more to all of them.
    """
    _refuse_nonsense(keep)
    newest_first = sorted(stamps, key=lambda stamp: (stamp.sequence, stamp.at, stamp.id), reverse=True)
    good = [stamp for stamp in newest_first if stamp.good]
    reasons: dict[str, list[str]] = {stamp.id: [] for stamp in newest_first}
    for stamp in newest_first if not good else newest_first[: newest_first.index(good[0])]:
        reasons[stamp.id].append("nothing newer is known to be good")
    if good:
        reasons[good[0].id].append("the newest good one")
    for chosen in (good, newest_first):
        for stamp, reason in _by_policy(chosen, keep):
            if reason not in reasons[stamp.id]:
                reasons[stamp.id].append(reason)
    why_not = _outside(keep)
    return [Decision(stamp.id, bool(reasons[stamp.id]), reasons[stamp.id] or [why_not]) for stamp in newest_first]


def _refuse_nonsense(keep: Keep) -> None:
    numbers = {
        "keep_last": keep.last,
        "keep_daily": keep.daily,
        "keep_weekly": keep.weekly,
        "keep_monthly": keep.monthly,
    }
    for name, number in numbers.items():
        if number < 0:
            raise AgentError(f"{name} = {number} means nothing", "give 0 or more", "policy")
    if not any(numbers.values()):
        raise AgentError(
            "nothing says which backups to keep, so none is removed",
            "set keep_last, keep_daily, keep_weekly or keep_monthly under [backup] in the deployment file",
            "policy",
        )


def _by_policy(newest_first: Sequence[Stamp], keep: Keep) -> list[tuple[Stamp, str]]:
    found = [(stamp, _last(keep.last)) for stamp in newest_first[: keep.last]]
    for number, period, what in (
        (keep.daily, _day, "the newest of the day"),
        (keep.weekly, _week, "the newest of the week"),
        (keep.monthly, _month, "the newest of the month"),
    ):
        found += [(stamp, f"{what} {name}") for stamp, name in _newest_of_each(newest_first, period, number)]
    return found


def _newest_of_each(
    newest_first: Sequence[Stamp], period: Callable[[float], str], number: int
) -> list[tuple[Stamp, str]]:
    """The newest of each of the last so many periods in which there was one. A date from a clock that was wrong is a
    period like any other, and goes when others have come after it."""
    found: dict[str, Stamp] = {}
    for stamp in newest_first:
        if len(found) == number:
            break
        found.setdefault(period(stamp.at), stamp)
    return [(stamp, name) for name, stamp in found.items()]


def _last(number: int) -> str:
    return "the last one" if number == 1 else f"among the last {number}"


def _outside(keep: Keep) -> str:
    parts = [f"the last {keep.last}"] if keep.last else []
    for number, word in ((keep.daily, "day"), (keep.weekly, "week"), (keep.monthly, "month")):
        if number:
            parts.append(f"the newest of the last {number} {word}s" if number > 1 else f"the newest of the last {word}")
    return "not " + " nor ".join(parts)


def _day(at: float) -> str:
    return _named(at, lambda when: when.strftime("%Y-%m-%d"))


def _week(at: float) -> str:
    return _named(at, lambda when: "{}-W{:02}".format(*when.isocalendar()[:2]))


def _month(at: float) -> str:
    return _named(at, lambda when: when.strftime("%Y-%m"))


def _named(at: float, name: Callable[[datetime], str]) -> str:
    try:
        return name(datetime.fromtimestamp(at, timezone.utc))
    except (ValueError, OverflowError, OSError):
        return "(no date)"
