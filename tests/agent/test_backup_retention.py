"""Which backups stay: never without the newest good one, never another answer the second time."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from mlflow_provision.agent.backup.retention import Decision, Stamp, decide
from mlflow_provision.agent.backup.settings import Keep
from mlflow_provision.agent.protocol import AgentError

DAY = 86400.0
FIELDS = ("last", "daily", "weekly", "monthly")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def stamp(sequence: int, when: str | float, good: bool = True) -> Stamp:
    return Stamp(f"b{sequence}", sequence, at(when) if isinstance(when, str) else when, good)


def kept(decisions: list[Decision]) -> list[str]:
    return [decision.id for decision in decisions if decision.keep]


def reasons(decisions: list[Decision], id: str) -> list[str]:
    return next(decision.reasons for decision in decisions if decision.id == id)


def daily(number: int) -> list[Stamp]:
    """One at noon of each day, the first on a Monday."""
    return [stamp(index + 1, at("2026-06-01T12:00") + index * DAY) for index in range(number)]


def test_last_keeps_the_newest_and_says_why() -> None:
    decisions = decide(daily(5), Keep(last=2))
    assert [decision.id for decision in decisions] == ["b5", "b4", "b3", "b2", "b1"]
    assert kept(decisions) == ["b5", "b4"]
    assert reasons(decisions, "b5") == ["the newest good one", "among the last 2"]
    assert reasons(decisions, "b4") == ["among the last 2"]
    assert reasons(decisions, "b3") == ["not the last 2"]


def test_daily_keeps_the_newest_of_each_of_the_last_days() -> None:
    stamps = [
        stamp(1, "2026-11-19T03:00"),
        stamp(2, "2026-11-20T03:00"),
        stamp(3, "2026-11-20T23:59:59"),
        stamp(4, "2026-11-21T00:00"),
        stamp(5, "2026-11-21T15:00"),
    ]
    decisions = decide(stamps, Keep(daily=2))
    assert kept(decisions) == ["b5", "b3"]
    assert reasons(decisions, "b3") == ["the newest of the day 2026-11-20"]
    assert reasons(decisions, "b4") == ["not the newest of the last 2 days"]


def test_days_without_a_backup_do_not_count() -> None:
    stamps = [stamp(1, "2026-01-01T00:00"), stamp(2, "2026-05-01T00:00"), stamp(3, "2026-11-01T00:00")]
    assert kept(decide(stamps, Keep(daily=2))) == ["b3", "b2"]


def test_weeks_begin_on_monday_and_have_the_year_they_belong_to() -> None:
    stamps = [
        stamp(1, "2026-12-27T12:00"),  # Sunday of week 52
        stamp(2, "2026-12-28T12:00"),  # Monday of week 53
        stamp(3, "2027-01-03T12:00"),  # Sunday of the same week
        stamp(4, "2027-01-04T12:00"),  # Monday of week 1
    ]
    decisions = decide(stamps, Keep(weekly=3))
    assert kept(decisions) == ["b4", "b3", "b1"]
    assert reasons(decisions, "b3") == ["the newest of the week 2026-W53"]


def test_months() -> None:
    stamps = [stamp(1, "2026-09-30T23:00"), stamp(2, "2026-10-01T00:00"), stamp(3, "2026-10-31T12:00")]
    assert kept(decide(stamps, Keep(monthly=9))) == ["b3", "b1"]


def test_the_usual_policy_over_a_year_of_days() -> None:
    decisions = decide(daily(365), Keep(last=3, daily=7, weekly=4, monthly=6))
    # 2027-05-31 is a Monday: the newest of its week and of May; Sundays before it; ends of months before that.
    assert kept(decisions) == [f"b{n}" for n in (365, 364, 363, 362, 361, 360, 359, 357, 350, 334, 304, 273, 245, 214)]
    assert reasons(decisions, "b1") == [
        "not the last 3 nor the newest of the last 7 days nor the newest of the last 4 weeks"
        " nor the newest of the last 6 months"
    ]


def test_nothing_to_decide() -> None:
    assert decide([], Keep(last=1)) == []


@pytest.mark.parametrize("keep", [Keep(), Keep(last=-1), Keep(last=3, daily=-1)])
def test_a_policy_that_keeps_nothing_or_means_nothing_is_refused(keep: Keep) -> None:
    for stamps in ([], daily(2)):
        with pytest.raises(AgentError) as caught:
            decide(stamps, keep)
        assert caught.value.kind == "policy"
        assert caught.value.hint


def test_a_backup_that_is_not_good_takes_the_place_of_none_that_is() -> None:
    stamps = daily(6)
    stamps[3:] = [replace(one, good=False) for one in stamps[3:]]
    decisions = decide(stamps, Keep(last=2))
    assert kept(decisions) == ["b6", "b5", "b4", "b3", "b2"]
    assert reasons(decisions, "b3") == ["the newest good one", "among the last 2"]
    assert reasons(decisions, "b4") == ["nothing newer is known to be good"]


def test_damaged_history_is_kept_like_any_other_after_a_new_good_one() -> None:
    stamps = [replace(one, good=False) for one in daily(9)]
    assert all(decision.keep for decision in decide(stamps, Keep(last=1)))
    stamps.append(stamp(10, stamps[-1].at + DAY))
    assert kept(decide(stamps, Keep(daily=3))) == ["b10", "b9", "b8"]


def test_one_from_the_future_goes_when_others_have_come_after_it() -> None:
    stamps = [stamp(1, "2026-11-01T00:00"), stamp(2, "2038-01-01T00:00"), stamp(3, "2026-11-02T00:00")]
    assert kept(decide(stamps, Keep(daily=1))) == ["b3"]
    assert kept(decide(stamps, Keep(daily=2))) == ["b3", "b2"]
    stamps += [stamp(4, "2026-11-03T00:00"), stamp(5, "2026-11-04T00:00")]
    assert kept(decide(stamps, Keep(daily=3))) == ["b5", "b4", "b3"]


def test_a_clock_that_was_set_back_does_not_make_the_newest_an_old_one() -> None:
    stamps = [stamp(1, "2026-11-21T00:00"), stamp(2, "2026-11-22T00:00"), stamp(3, "1970-01-01T00:00")]
    assert kept(decide(stamps, Keep(last=1))) == ["b3"]


@pytest.mark.parametrize("when", [float("nan"), float("inf"), -1e300, 1e300])
def test_a_time_that_is_no_date(when: float) -> None:
    decisions = decide(
        [stamp(1, when), stamp(2, when), stamp(3, "2026-11-21T00:00")], Keep(daily=9, weekly=9, monthly=9)
    )
    assert kept(decisions) == ["b3", "b2"]


def test_equal_times_and_equal_sequences_have_one_order() -> None:
    stamps = [Stamp(f"same-{n}", 7, at("2026-11-21T00:00"), True) for n in range(9)]
    expected = decide(stamps, Keep(last=2))
    for seed in range(9):
        random.Random(seed).shuffle(stamps)
        assert decide(stamps, Keep(last=2)) == expected
    assert kept(expected) == ["same-8", "same-7"]


def history(luck: random.Random) -> list[Stamp]:
    now, stamps = at("2026-06-01T00:00"), []
    for sequence in range(luck.randrange(40)):
        now += luck.choice([0, 1, 3600, DAY, DAY, 3 * DAY, 20 * DAY])
        jump = luck.choice([0] * 12 + [-400 * DAY, 4000 * DAY])
        stamps.append(stamp(sequence, now + jump, luck.random() < 0.8))
    luck.shuffle(stamps)
    return stamps


def policy(luck: random.Random) -> Keep:
    numbers = {name: luck.choice([0, 0, 1, 2, 3, 7]) for name in FIELDS}
    return Keep(**numbers) if any(numbers.values()) else Keep(last=1)


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happened(seed: int) -> None:
    luck = random.Random(seed)
    stamps, keep = history(luck), policy(luck)
    decisions = decide(stamps, keep)
    staying = set(kept(decisions))

    # One decision for each, with reasons, whatever order they were found in.
    assert sorted(decision.id for decision in decisions) == sorted(one.id for one in stamps)
    assert all(decision.reasons for decision in decisions)
    assert decide(sorted(stamps, key=lambda one: one.id), keep) == decisions

    # The newest good one stays, and so do as many good ones as the policy names.
    good = sorted((one for one in stamps if one.good), key=lambda one: one.sequence)
    assert {one.id for one in good[-max(keep.last, 1) :]} <= staying
    assert good or staying == {one.id for one in stamps}

    # The second run removes nothing more.
    left = [one for one in stamps if one.id in staying]
    assert set(kept(decide(left, keep))) == staying

    # A more generous policy keeps no less.
    more = replace(keep, **{luck.choice(FIELDS): 8})
    assert staying <= set(kept(decide(stamps, more)))

    # What was removed does not come back when another backup has been made, and that one stays.
    newer = Stamp("newer", 1000, max((one.at for one in stamps), default=0.0) + 60, True)
    after = set(kept(decide([*stamps, newer], keep)))
    assert after <= staying | {"newer"}
    assert "newer" in after
