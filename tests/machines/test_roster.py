"""The roster among processes that fork late, die, hang, and refuse to stop, with commands at any moment."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.rosterkit import CRASH, KILLED, OK, service
from zocalo_daemon.control import takeover
from zocalo_daemon.supervision import handover, plain
from zocalo_daemon.supervision.actions import Abort, Action, Announce, Drain, Finish, Kill, Spawn, Trace
from zocalo_daemon.supervision.events import (
    Event,
    Exit,
    Exited,
    Forked,
    Hung,
    Ready,
    Spent,
    Stalled,
    Unloadable,
)
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Service, Slot

NAMES = ("a", "b", "c")
START_TIMEOUT, STOP_TIMEOUT, MAX_BACKOFF = 20.0, 10.0, 8.0
MAX_AGE = 100.0
# For a former worker to end and a replacement to fail, in three services that come one after the other.
LONG = 3 * 2 * (START_TIMEOUT + STOP_TIMEOUT) + 1
LATEST_START = 20.0  # seconds until a start that is limited, with an allowance as below
HOPELESS = ("which has failed", "which is in backoff")


@dataclass
class Process:
    """A worker, as the world knows it."""

    serial: int
    instance: str
    asked: bool = False  # the forkserver has the request, and will fork whatever happens
    forked: bool = False  # and has said so
    ready: bool = False
    drained: bool = False
    killed: bool = False
    hung: bool = False
    spent: bool = False

    @property
    def serves(self) -> bool:
        return self.ready and not (self.drained or self.killed or self.hung)


class World(RuleBasedStateMachine):
    """Performs actions as the daemon does: what follows at once is reported before the next is performed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.processes: dict[int, Process] = {}
        self.latest = 0
        self.watches: dict[int, float | None] = {}  # unfinished ones, and when they must have
        self.watch_count = 0
        self.stopped: set[str] = set()  # said to be stopped, and not started since
        self.renewed: dict[str, int] = {}  # the serial that was the latest when a restart was asked for

    @initialize(
        chance=st.floats(0, 1, exclude_max=True), stubborn=st.booleans(), left=st.sampled_from((128, 2, -300))
    )
    def begin(self, chance: float, stubborn: bool, left: int) -> None:
        self.chance = chance
        self.roster = Roster(lambda: chance)
        self.roster._instances._allowance.left = left
        self.stubborn = stubborn
        self.apply({"a": 3, "b": 1}, "always", 4, set(), ("a", "b", "c"), {("b", "a")}, None)
        self.serve()
        self.serve()  # those that have waited for the first ones

    # -- The daemon

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Spawn(serial, instance):
                    self.latest = max(serial, self.latest)
                    self.processes[serial] = Process(serial, instance)
                    self.check_start(instance, serial)
                case Drain(serial):
                    self.check_drain(self.processes[serial])
                    self.end(serial, "drained")
                case Kill(serial):
                    self.end(serial, "killed")
                case Trace(serial) | Abort(serial):
                    assert self.processes[serial].hung
                case Announce(event, instance):
                    self.announced(event, instance)
                case Finish(number, results):
                    del self.watches[number]  # once, and only once
                    assert all(set(result) == {"id", "state", "ok", "message"} for result in results)

    def end(self, serial: int, how: str) -> None:
        process = self.processes[serial]  # nobody is told to end who has ended
        assert not getattr(process, how)
        setattr(process, how, True)
        if not process.asked:
            self.exit(process, OK)  # the request was withdrawn

    def check_start(self, instance: str, serial: int) -> None:
        """A first start has waited for those that come before."""
        slot = self.roster.slot(instance)
        if slot and slot.fresh and slot.current and slot.current.serial == serial:
            names = slot.service.config.after
            assert all(is_up(one) for name in names if (one := self.roster.services.get(name)))

    def check_drain(self, process: Process) -> None:
        """A worker that serves ends only after those that come behind, or when another one serves."""
        slot = self.roster.slot(process.instance)
        if slot is None or not process.serves:
            return
        if slot.wanted:
            assert any(
                p.serves and p.instance == slot.id for p in self.processes.values() if p is not process
            )
        else:
            assert not self.stopping_behind(slot.service)

    def stopping_behind(self, service: Service) -> list[str]:
        followers = [o for o in self.roster.services.values() if service.config.name in o.config.after]
        slots = [slot for one in followers for slot in one.slots.values()]
        return [slot.id for slot in slots if not slot.wanted and slot.state is not State.STOPPED]

    def announced(self, event: str, instance: str) -> None:
        if event == "stopped":
            assert instance not in self.stopped
            self.stopped.add(instance)
        if event == "kept":
            name = instance.partition("/")[0]
            self.renewed = {id_: mark for id_, mark in self.renewed.items() if not id_.startswith(name)}

    def report(self, event: Event) -> None:
        self.perform(self.roster.handle(event, self.now))

    def exit(self, process: Process, exit_: Exit, error: str = "") -> None:
        del self.processes[process.serial]
        self.report(Exited(process.serial, exit_, error))

    def sleep(self, seconds: float) -> None:
        """Let time pass as the loop does: from deadline to deadline."""
        until = self.now + seconds
        while (due := self.roster.next_deadline()) is not None and due <= until:
            assert due >= self.now
            self.now = due
            self.perform(self.roster.tick(self.now))
            self.calm_down()
        self.now = until
        self.perform(self.roster.tick(self.now))

    def calm_down(self) -> None:
        """In a hurry (see teardown), workers do at once what they do at all."""

    # -- Commands

    @rule(
        shape=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), min_size=1),
        policy=st.sampled_from(("always", "always", "on-failure", "never")),
        limit=st.integers(0, 4),
        changed=st.sets(st.sampled_from(NAMES)),
        order=st.permutations(NAMES),
        pairs=st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=4),
        max_age=st.sampled_from((None, MAX_AGE, 2 * MAX_AGE)),
    )
    def apply(
        self,
        shape: dict[str, int],
        policy: str,
        limit: int,
        changed: set[str],
        order: tuple[str, ...],
        pairs: set[tuple[str, str]],
        max_age: float | None,
    ) -> None:
        rank = {name: number for number, name in enumerate(order) if name in shape}
        after = {
            name: [o for n, o in sorted(pairs) if n == name and rank.get(o, 9) < rank[n]] for name in rank
        }
        before = {slot.id: slot for slot in self.roster.slots()}
        known = {name for name, one in self.roster.services.items() if not one.removed}
        mark = self.latest
        services = {
            name: service(
                name,
                count,
                policy=policy,
                limit=limit,
                after=tuple(after[name]),
                max_age=max_age,
                max_backoff=MAX_BACKOFF,
                start_timeout=START_TIMEOUT,
                stop_timeout=STOP_TIMEOUT,
            )
            for name, count in shape.items()
        }
        self.perform(self.roster.apply(services, sorted(changed), self.now))
        for name in changed & set(shape):
            slots = self.roster.services[name].slots.values()
            self.renewed.update({slot.id: mark for slot in slots if slot.wanted and slot.id in before})
        assert list(self.roster.services)[: len(shape)] == list(shape)
        for name in shape.keys() - known:
            slots = self.roster.services[name].slots.values()
            assert sum(slot.wanted for slot in slots) == shape[name]
        for name in set(self.roster.services) - set(shape):
            assert all(slot.leaving for slot in self.roster.services[name].slots.values())
        self.perform(self.roster.tick(self.now))  # who is older than the new max_age is due now

    def ids(self) -> list[str]:
        return [slot.id for slot in self.roster.slots()]

    def chosen(self, data: st.DataObject) -> list[str]:
        some = st.lists(st.sampled_from([*self.ids(), "gone/7"]), min_size=1, max_size=3, unique=True)
        return data.draw(st.just(self.ids()) | some)

    @rule(data=st.data())
    def up(self, data: st.DataObject) -> None:
        chosen = self.chosen(data)
        self.perform(self.roster.up(chosen, self.now))
        assert all(slot.wanted or slot.leaving for slot in self.slots(chosen))

    @rule(data=st.data())
    def down(self, data: st.DataObject) -> None:
        chosen = self.chosen(data)
        self.perform(self.roster.down(chosen, self.now))
        assert not any(slot.wanted for slot in self.slots(chosen))

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        chosen, mark = self.chosen(data), self.latest
        self.perform(self.roster.renew(chosen, self.now))
        self.renewed.update({slot.id: mark for slot in self.slots(chosen) if not slot.leaving})

    @rule(data=st.data(), count=st.integers(0, 4))
    @precondition(lambda self: self.roster.services)
    def scale(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(list(self.roster.services)))
        removed = self.roster.services[name].removed
        self.perform(self.roster.scale(name, count, self.now))
        if not removed:
            slots = self.roster.services[name].slots
            assert [number for number, slot in slots.items() if not slot.leaving] == list(range(count))

    @rule(data=st.data(), up=st.sampled_from((True, False, None)), within=st.none() | st.floats(0, 40))
    def watch(self, data: st.DataObject, up: bool | None, within: float | None) -> None:
        self.watch_count += 1
        due = None if within is None else self.now + within
        self.watches[self.watch_count] = due
        self.perform(self.roster.watch(self.watch_count, self.chosen(data), up=up, due=due))
        self.perform(self.roster.tick(self.now))

    @rule(data=st.data())
    @precondition(lambda self: self.watches)
    def unwatch(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(list(self.watches)))
        del self.watches[number]
        self.roster.unwatch(number)

    def slots(self, chosen: list[str]) -> list[Slot]:
        return [slot for slot in map(self.roster.slot, chosen) if slot]

    # -- What processes do

    def pick(self, data: st.DataObject, *, asked: bool) -> Process:
        return data.draw(st.sampled_from([p for p in self.processes.values() if p.asked == asked]))

    @rule()
    def ask(self) -> None:
        """The forkservers take what was asked for."""
        for process in self.processes.values():
            process.asked = True

    @rule()
    def serve(self) -> None:
        """Whoever can become ready does."""
        for process in list(self.processes.values()):
            self.start(process)

    def start(self, process: Process) -> None:
        process.asked = True
        if not process.forked:
            process.forked = True
            self.report(Forked(process.serial, process.serial + 1000))
        if not (process.ready or process.drained or process.killed or process.hung):
            process.ready = True
            self.report(Ready(process.serial))

    @rule(data=st.data())
    @precondition(lambda self: any(not p.asked for p in self.processes.values()))
    def refuse(self, data: st.DataObject) -> None:
        process = self.pick(data, asked=False)
        if data.draw(st.booleans()):
            self.exit(process, CRASH, "could not be forked")
        else:
            del self.processes[process.serial]
            self.report(Unloadable(process.serial, "no such module"))

    @rule(data=st.data(), fork=st.booleans(), ready=st.booleans())
    @precondition(lambda self: any(p.asked and not p.ready for p in self.processes.values()))
    def progress(self, data: st.DataObject, fork: bool, ready: bool) -> None:
        waiting = [p for p in self.processes.values() if p.asked and not p.ready]
        process = data.draw(st.sampled_from(waiting))
        if process.hung:
            return
        if fork and not process.forked:
            process.forked = True
            self.report(Forked(process.serial, process.serial + 1000))
        if ready and not process.killed:  # the two come by different sockets
            process.ready = True
            self.report(Ready(process.serial))

    @rule(data=st.data(), exit_=st.sampled_from((OK, CRASH, KILLED)))
    @precondition(lambda self: any(p.asked for p in self.processes.values()))
    def die(self, data: st.DataObject, exit_: Exit) -> None:
        process = self.pick(data, asked=True)
        self.exit(process, KILLED if process.killed else exit_)

    @rule(data=st.data())
    @precondition(lambda self: any(p.forked for p in self.processes.values()))
    def hang(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from([p for p in self.processes.values() if p.forked]))
        process.hung = process.hung or not process.killed
        self.report(Hung(process.serial, "no progress for 600 s"))

    @rule(data=st.data())
    @precondition(lambda self: any(p.ready for p in self.processes.values()))
    def spend(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from([p for p in self.processes.values() if p.ready]))
        process.spent = True
        self.report(Spent(process.serial, "10,000 messages"))

    @rule(data=st.data(), why=st.sampled_from(("stopped by SIGSTOP", "")))
    @precondition(lambda self: any(p.forked for p in self.processes.values()))
    def stall(self, data: st.DataObject, why: str) -> None:
        process = data.draw(st.sampled_from([p for p in self.processes.values() if p.forked]))
        self.report(Stalled(process.serial, why))
        slot = self.roster.slot(process.instance)
        if why and slot and slot.current and slot.current.serial == process.serial:
            assert slot.reason == ("no progress for 600 s" if process.hung and slot.current.hung else why)

    @rule()
    def obey(self) -> None:
        """Whoever was asked to end does."""
        for process in list(self.processes.values()):
            if process.drained or process.killed:
                self.exit(process, KILLED if process.killed else OK)

    @rule()
    def reexec(self) -> None:
        """New code of the supervisor goes on with what the old one has left (control/takeover)."""
        left = plain.dump(handover.states(self.roster.parts()), takeover.TYPES)
        self.roster = Roster(lambda: self.chance)
        handover.set_states(self.roster.parts(), plain.load(left, takeover.TYPES))
        assert plain.dump(handover.states(self.roster.parts()), takeover.TYPES) == left

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.sleep(seconds)

    # -- What always holds

    @invariant()
    def every_process_has_one_role_in_its_slot(self) -> None:
        roles = {}
        for slot in self.roster.slots():
            workers = [w for w in (slot.current, slot.candidate, slot.retiring) if w]
            assert len(workers) <= 2
            for worker in workers:
                assert worker.serial not in roles
                assert self.roster.worker(worker.serial) is worker
                roles[worker.serial] = slot.id
        assert roles == {process.serial: process.instance for process in self.processes.values()}
        assert self.roster.idle() == (not self.processes)

    @invariant()
    def at_most_one_serves(self) -> None:
        serving = [p.instance for p in self.processes.values() if p.serves]
        assert len(serving) == len(set(serving))

    @invariant()
    def wanted_instances_run_or_wait_or_have_failed(self) -> None:
        for slot in self.roster.slots():
            process = self.processes.get(slot.current.serial) if slot.current else None
            ending = process and (process.drained or process.killed)
            match slot.state:
                case State.READY:
                    assert process and process.ready and (process.hung or not ending)
                    assert slot.wanted or self.stopping_behind(slot.service)
                case State.STARTING if process:
                    assert slot.wanted and not process.ready and not process.drained
                case State.STARTING:
                    services = [self.roster.services.get(name) for name in slot.service.config.after]
                    behind = [one for one in services if one and not is_up(one)]
                    assert slot.wanted and slot.fresh and behind
                    assert slot.reason.startswith("waits for ")
                case State.DRAINING:
                    assert process and (ending or process.hung)
                case State.BACKOFF:
                    assert slot.wanted and not process and slot.due and slot.due > self.now
                    assert slot.due <= self.now + (LATEST_START if slot.limited else MAX_BACKOFF)
                    assert slot.reason
                case State.FAILED:
                    assert slot.wanted and not process and slot.reason
                case State.STOPPED:
                    assert not process
                    assert not slot.wanted or "restart policy" in slot.reason

    @invariant()
    def who_waits_to_start_is_told_if_nothing_moves(self) -> None:
        """Otherwise those who wait for him would do so for ever."""
        for slot in self.roster.slots():
            if slot.state is State.STARTING and not slot.current and not slot.waits.endswith(HOPELESS):
                before = self.before(slot.service)
                moving = {p.instance.partition("/")[0] for p in self.processes.values() if not p.serves}
                assert before & moving

    def before(self, service: Service) -> set[str]:
        """Return the names of all that come before a service."""
        present = [one for name in service.config.after if (one := self.roster.services.get(name))]
        return {one.config.name for one in present}.union(*map(self.before, present))

    @invariant()
    def unwanted_instances_end(self) -> None:
        for slot in self.roster.slots():
            if not slot.wanted:
                mine = [p for p in self.processes.values() if p.instance == slot.id]
                held = slot.state is State.READY
                assert held or slot.state in (State.DRAINING, State.STOPPED)
                assert sum(not (p.drained or p.killed or p.hung) for p in mine) <= held
                assert bool(mine) == (slot.state is not State.STOPPED)
                assert not (slot.leaving and slot.state is State.STOPPED)
            assert not (slot.wanted and slot.leaving)

    @invariant()
    def rolling_restarts_go_on(self) -> None:
        for one in self.roster.services.values():
            queue = list(one.rolling.values())
            assert all(slot.state is State.READY and slot.wanted for slot in queue)
            assert all(slot.asked or slot.current.spent for slot in queue)
            assert all(slot.number in one.rolling or not slot.asked for slot in one.slots.values())
            assert not queue or queue[0].candidate or queue[0].retiring
            candidates = [slot for slot in one.slots.values() if slot.candidate]
            assert candidates in ([], queue[:1])

    @invariant()
    def spent_workers_are_replaced(self) -> None:
        for slot in self.roster.slots():
            if slot.state is State.READY and slot.wanted and slot.current.spent and not slot.current.stopping:
                assert slot.number in slot.service.rolling or slot.due

    @invariant()
    def who_stops_again_is_told_again(self) -> None:
        self.stopped -= {slot.id for slot in self.roster.slots() if slot.state is not State.STOPPED}

    @invariant()
    def nothing_is_overdue(self) -> None:
        due = self.roster.next_deadline()
        assert due is None or due > self.now
        assert all(due is None or due > self.now for due in self.watches.values())
        for process in self.processes.values():
            if process.drained and not process.killed:
                assert self.roster.worker(process.serial).due <= self.now + STOP_TIMEOUT

    # -- How it ends

    def teardown(self) -> None:
        if sys.exc_info()[0]:
            return  # it has failed already
        if self.stubborn:
            self.calm_down = self.nobody_listens
            self.nobody_listens()
            self.sleep(LONG)
        else:
            self.calm_down = self.all_goes_well
            self.all_goes_well()
            self.sleep(MAX_BACKOFF + STOP_TIMEOUT + LATEST_START)
            self.check_calm()
        for slot in self.roster.slots():
            assert slot.wanted or slot.state is State.STOPPED
        assert not self.watches

    def check_calm(self) -> None:
        assert not any(one.removed or one.rolling for one in self.roster.services.values())
        for slot in self.roster.slots():
            assert not slot.candidate and not slot.retiring
            assert slot.state in (State.READY, State.FAILED, State.STOPPED) or "failed" in slot.reason
            assert slot.due is None or (slot.state is State.READY and slot.current.spent)
            if slot.current and slot.id in self.renewed:
                assert slot.current.serial > self.renewed[slot.id]

    def all_goes_well(self) -> None:
        """Workers start, serve, and end when asked to."""
        while busy := [p for p in self.processes.values() if not p.serves]:
            for process in busy:
                if process.serial not in self.processes:
                    continue
                process.asked = True
                if process.drained or process.killed or process.hung:
                    self.exit(process, KILLED if process.killed else OK)
                    continue
                self.start(process)

    def nobody_listens(self) -> None:
        """Workers are forked, but do not become ready, and end only if they are killed."""
        while busy := [p for p in self.processes.values() if not p.forked or p.killed]:
            for process in busy:
                if process.serial not in self.processes:
                    continue
                process.asked = True
                if not process.forked:
                    process.forked = True
                    self.report(Forked(process.serial, process.serial + 1000))
                if process.killed:
                    self.exit(process, KILLED)


def is_up(service: Service) -> bool:
    """Whether those that come after it may start."""
    states = [slot.state for slot in service.slots.values() if slot.wanted]
    first = any(slot.fresh or slot.state is State.DRAINING for slot in service.slots.values() if slot.wanted)
    return set(states) <= {State.STOPPED} or (State.READY in states and not first)


World.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestRoster = World.TestCase
