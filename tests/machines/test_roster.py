"""The roster in a world of processes that fork late, die, and refuse to stop, with commands at any moment."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.rosterkit import CRASH, KILLED, OK, service
from zocalo_daemon.supervision.actions import Action, Announce, Drain, Finish, Kill, Spawn
from zocalo_daemon.supervision.events import Event, Exit, Exited, Forked, Ready, Unloadable
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Slot

NAMES = ("a", "b", "c")
START_TIMEOUT, STOP_TIMEOUT, MAX_BACKOFF = 20.0, 10.0, 8.0
LONG = 2 * (START_TIMEOUT + STOP_TIMEOUT) + 1  # for a former worker to end, and a replacement to fail


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

    @initialize(chance=st.floats(0, 1, exclude_max=True), stubborn=st.booleans())
    def begin(self, chance: float, stubborn: bool) -> None:
        self.roster = Roster(lambda: chance)
        self.stubborn = stubborn
        self.apply({"a": 3, "b": 1}, "always", 4, set())
        self.serve()

    # -- The daemon

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Spawn(serial, instance):
                    self.latest = max(serial, self.latest)
                    self.processes[serial] = Process(serial, instance)
                    self.stopped.discard(instance)
                case Drain(serial):
                    self.end(serial, "drained")
                case Kill(serial):
                    self.end(serial, "killed")
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
    )
    def apply(self, shape: dict[str, int], policy: str, limit: int, changed: set[str]) -> None:
        before = {slot.id: slot for slot in self.roster.slots()}
        known = {name for name, one in self.roster.services.items() if not one.removed}
        mark = self.latest
        services = {
            name: service(
                name,
                count,
                policy=policy,
                limit=limit,
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
        if not (process.ready or process.drained or process.killed):
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

    @rule()
    def obey(self) -> None:
        """Whoever was asked to end does."""
        for process in list(self.processes.values()):
            if process.drained or process.killed:
                self.exit(process, KILLED if process.killed else OK)

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
        serving = [p.instance for p in self.processes.values() if p.ready and not p.drained and not p.killed]
        assert len(serving) == len(set(serving))

    @invariant()
    def wanted_instances_run_or_wait_or_have_failed(self) -> None:
        for slot in self.roster.slots():
            process = self.processes.get(slot.current.serial) if slot.current else None
            ending = process and (process.drained or process.killed)
            match slot.state:
                case State.READY:
                    assert slot.wanted and process and process.ready and not ending
                case State.STARTING:
                    assert slot.wanted and process and not process.ready and not process.drained
                case State.DRAINING:
                    assert process and ending
                case State.BACKOFF:
                    assert slot.wanted and not process and slot.due and slot.due > self.now
                    assert slot.due <= self.now + MAX_BACKOFF
                    assert slot.reason
                case State.FAILED:
                    assert slot.wanted and not process and slot.reason
                case State.STOPPED:
                    assert not process
                    assert not slot.wanted or "restart policy" in slot.reason

    @invariant()
    def unwanted_instances_end(self) -> None:
        for slot in self.roster.slots():
            if not slot.wanted:
                assert slot.state in (State.DRAINING, State.STOPPED)
                mine = [p for p in self.processes.values() if p.instance == slot.id]
                assert all(p.drained or p.killed for p in mine)
                assert bool(mine) == (slot.state is State.DRAINING)
                assert not (slot.leaving and slot.state is State.STOPPED)
            assert not (slot.wanted and slot.leaving)

    @invariant()
    def rolling_restarts_go_on(self) -> None:
        for one in self.roster.services.values():
            queue = list(one.rolling.values())
            assert all(slot.state is State.READY and slot.wanted for slot in queue)
            assert not queue or queue[0].candidate or queue[0].retiring
            candidates = [slot for slot in one.slots.values() if slot.candidate]
            assert candidates in ([], queue[:1])

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
            self.sleep(MAX_BACKOFF + STOP_TIMEOUT)
            self.check_calm()
        for slot in self.roster.slots():
            assert slot.wanted or slot.state is State.STOPPED
        assert not self.watches

    def check_calm(self) -> None:
        assert self.roster.next_deadline() is None
        assert not any(one.removed or one.rolling for one in self.roster.services.values())
        for slot in self.roster.slots():
            assert not slot.candidate and not slot.retiring
            assert slot.state in (State.READY, State.FAILED, State.STOPPED)
            if slot.current and slot.id in self.renewed:
                assert slot.current.serial > self.renewed[slot.id]

    def all_goes_well(self) -> None:
        """Workers start, serve, and end when asked to."""
        while busy := [p for p in self.processes.values() if not p.ready or p.drained or p.killed]:
            for process in busy:
                if process.serial not in self.processes:
                    continue
                process.asked = True
                if process.drained or process.killed:
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


World.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestRoster = World.TestCase
