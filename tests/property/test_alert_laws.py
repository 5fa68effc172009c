"""Laws of alerts: whatever breaks, closes, dies and restarts, every channel reads of each thing once, and of its end once.

The world here is a list of conditions with a beginning and perhaps an end, channels that work or do not, and an alerter that
may be killed between sending and recording. The rules are those of the program; what was delivered is judged without them.
"""

from __future__ import annotations

from collections import Counter

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.alert_settings import AlertSettings, Channel, Webhook
from ledger.alerts.conditions import Condition
from ledger.alerts.lifecycle import Ending, due, stage_of
from ledger.journal.memory import MemoryJournal
from ledger.journal.notices import RESOLVED, SentNotice
from tests.support.alerts import MINUTE
from tests.support.journals import Clock

T0 = 1_767_607_200_000_000
NAMES = ("a", "b", "c")


@define
class World:
    """What is wrong from when to when (minutes), and what was delivered: key, channel, stage, minute."""

    rules: AlertSettings
    begins: dict[str, tuple[int, int | None]]
    store: MemoryJournal = field(factory=lambda: MemoryJournal(Clock()))
    delivered: list[tuple[str, str, int, int]] = field(factory=list)
    crashes: Counter[tuple[str, str, int]] = field(factory=Counter)

    def round(self, minute: int, working: set[str], *, is_killed: bool) -> None:
        present = [
            Condition(key=key, kind="ghost", what="w", since_us=T0 + begin * MINUTE)
            for key, (begin, end) in self.begins.items()
            if begin <= minute and (end is None or minute < end)
        ]
        sent = self.store.sent_notices([one.key for one in present])
        for one in due(present, sent, self.rules, T0 + minute * MINUTE, lambda _: Ending.OVER):
            if one.channel not in working:
                continue
            self.delivered.append((one.key, one.channel, one.stage, minute))
            if is_killed:
                self.crashes[one.key, one.channel, one.stage] += 1
                return  # what was sent is not recorded, and the round ends here
            self.store.save_notice(SentNotice(key=one.key, channel=one.channel, stage=one.stage, sent_us=minute))


_LIFE = st.tuples(st.integers(0, 200), st.none() | st.integers(1, 300)).map(lambda one: (one[0], one[1] and one[0] + one[1]))
_SPANS = st.dictionaries(st.sampled_from("klmn"), _LIFE, min_size=1)
_RULES = st.builds(
    lambda grace, ages, routes: AlertSettings(
        grace_sec=grace * 60, escalate_min=tuple(sorted(ages)), routes=tuple(map(tuple, routes)),
        channels={name: Channel(name=name, settings=Webhook()) for name in NAMES},
    ),
    st.integers(0, 10), st.sets(st.integers(1, 250), max_size=3),
    st.lists(st.lists(st.sampled_from(NAMES), unique=True), min_size=1, max_size=3).filter(any),
)  # fmt: skip
_ROUNDS = st.lists(st.tuples(st.integers(1, 60), st.sets(st.sampled_from(NAMES)), st.booleans()), min_size=1, max_size=15)


@settings(max_examples=100)
@given(_SPANS, _RULES, _ROUNDS)
def test_every_channel_reads_of_each_thing_once_and_of_its_end_once(spans, rules, rounds):
    world, minute = World(rules, spans), 0
    for step, working, is_killed in rounds:
        minute += step
        world.round(minute, working, is_killed=is_killed)
    open_at_end = {key for key, (begin, end) in spans.items() if begin <= minute and (end is None or minute < end)}
    world.round(minute, set(NAMES), is_killed=False)  # in the end every channel works, and nobody is killed

    times = Counter((key, channel, stage) for key, channel, stage, _ in world.delivered)
    assert all(count <= 1 + world.crashes[one] for one, count in times.items())  # a crash repeats a stage at most once
    for key, (begin, end) in spans.items():
        mine = [one for one in world.delivered if one[0] == key]
        opened = [(channel, at) for _, channel, stage, at in mine if stage != RESOLVED]
        resolved = [(channel, at) for _, channel, stage, at in mine if stage == RESOLVED]
        assert all(begin + rules.grace_sec / 60 <= at and (end is None or at < end) for _, at in opened)
        assert all(end is not None and end <= at for _, at in resolved)
        if key in open_at_end:
            age = minute - begin
            reached = sum(age >= one for one in rules.escalate_min)
            last = len(rules.routes) - 1
            wanted = {name for number in range(reached + 1) for name in rules.routes[min(number, last)]}
            assert {channel for channel, _ in opened} == (wanted if age >= rules.grace_sec / 60 else set())
            assert resolved == []
        elif end is not None and end <= minute:
            assert {channel for channel, _ in resolved} <= {channel for channel, _ in opened}
            recorded = [one for one in world.store.sent_notices([key]) if one.key == key]
            assert {one.channel for one in recorded if one.stage == RESOLVED} == {one.channel for one in recorded}
        for channel in NAMES:
            stages = [stage for _, name, stage, _ in mine if name == channel]
            assert stages == sorted(stages, key=lambda stage: (stage == RESOLVED, stage))  # no stage after its end, none lower


@given(_RULES, st.integers(0, 300), st.integers(0, 239), st.booleans())
def test_what_somebody_took_over_stays_at_its_stage_for_four_hours_and_then_is_as_old_as_it_is(rules, taken, later, has_grace):
    def stage_at(minute, acknowledged):
        acknowledged_us = None if acknowledged is None else T0 + acknowledged * MINUTE
        one = Condition(
            key="k", kind="ghost", what="w", since_us=T0, has_grace=has_grace, acknowledged_us=acknowledged_us,
        )  # fmt: skip
        return stage_of(one, rules, T0 + minute * MINUTE)

    assert stage_at(taken + later, taken) == stage_at(taken, None)
    assert stage_at(taken + 240 + later, taken) == stage_at(taken + 240 + later, None)
