"""The states of one instance (a slot `service/N`) as one table.

Wanted and actual are kept apart: UP and DOWN say what is wanted, the state is what is. A restart of an
instance that serves is not in the table: its replacement is started beside it (see rolling).

Every (state, event) pair stands below; a pair that means nothing is there too, and changes nothing.
"""

from __future__ import annotations

import enum

from zocalo_daemon.values import Value


class State(enum.StrEnum):
    """What an instance is doing; the values are what `status` shows."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(enum.Enum):
    """What can happen to an instance."""

    UP = enum.auto()  # it is wanted
    DOWN = enum.auto()  # it is not wanted any more
    RENEW = enum.auto()  # end what is there and start afresh
    READY = enum.auto()  # its worker serves
    GONE_AT_ONCE = enum.auto()  # its worker ended; to be replaced at once
    GONE_LATER = enum.auto()  # its worker ended; to be replaced after a while
    GONE_FOR_GOOD = enum.auto()  # its worker ended and may rest (policy), or it has none yet
    GONE_HOPELESSLY = enum.auto()  # its worker ended once too often, or can never start
    TAKEN_OVER = enum.auto()  # its worker ended, and a replacement that is not ready yet takes its place
    LINGERS = enum.auto()  # all that is left of it is an old worker that finishes
    TURN = enum.auto()  # it has waited for other services, and those are ready
    DUE = enum.auto()  # its timer ran out, or that of its worker


class Effect(enum.Enum):
    """What has to be done on a transition, in this order."""

    SPAWN = enum.auto()
    DRAIN = enum.auto()
    KILL = enum.auto()
    FORGET_DEATHS = enum.auto()


class Transition(Value):
    """The next state and what to do."""

    state: State
    effects: tuple[Effect, ...] = ()


def step(state: State, event: Event) -> Transition:
    """Return what `event` does to an instance in `state`; total over all pairs."""
    return TABLE[state, event]


_STARTING, _READY, _DRAINING = State.STARTING, State.READY, State.DRAINING
_BACKOFF, _STOPPED, _FAILED = State.BACKOFF, State.STOPPED, State.FAILED
_SPAWN, _DRAIN, _KILL = (Effect.SPAWN,), (Effect.DRAIN,), (Effect.KILL,)
_AFRESH = (Effect.FORGET_DEATHS, Effect.SPAWN)

TABLE: dict[tuple[State, Event], Transition] = {
    # A worker exists and is not ready yet. DUE: initializing() took too long.
    # Or there is none yet, as other services come first (see order): then only TURN and GONE_FOR_GOOD come.
    (_STARTING, Event.UP): Transition(_STARTING),
    (_STARTING, Event.DOWN): Transition(_DRAINING, _DRAIN),
    (_STARTING, Event.RENEW): Transition(_DRAINING, _KILL),
    (_STARTING, Event.READY): Transition(_READY),
    (_STARTING, Event.GONE_AT_ONCE): Transition(_STARTING, _SPAWN),
    (_STARTING, Event.GONE_LATER): Transition(_BACKOFF),
    (_STARTING, Event.GONE_FOR_GOOD): Transition(_STOPPED),
    (_STARTING, Event.GONE_HOPELESSLY): Transition(_FAILED),
    (_STARTING, Event.TAKEN_OVER): Transition(_STARTING),
    (_STARTING, Event.LINGERS): Transition(_STARTING),
    (_STARTING, Event.TURN): Transition(_STARTING, _SPAWN),
    (_STARTING, Event.DUE): Transition(_STARTING, _KILL),
    # A worker serves. RENEW: a rolling restart replaces it.
    (_READY, Event.UP): Transition(_READY),
    (_READY, Event.DOWN): Transition(_DRAINING, _DRAIN),
    (_READY, Event.RENEW): Transition(_READY),
    (_READY, Event.READY): Transition(_READY),
    (_READY, Event.GONE_AT_ONCE): Transition(_STARTING, _SPAWN),
    (_READY, Event.GONE_LATER): Transition(_BACKOFF),
    (_READY, Event.GONE_FOR_GOOD): Transition(_STOPPED),
    (_READY, Event.GONE_HOPELESSLY): Transition(_FAILED),
    (_READY, Event.TAKEN_OVER): Transition(_STARTING),
    (_READY, Event.LINGERS): Transition(_READY),
    (_READY, Event.TURN): Transition(_READY),
    (_READY, Event.DUE): Transition(_READY),
    # A worker is finishing. Its end is GONE_FOR_GOOD if the instance is not wanted, else GONE_AT_ONCE.
    # DUE: it took longer than stop_timeout.
    (_DRAINING, Event.UP): Transition(_DRAINING),
    (_DRAINING, Event.DOWN): Transition(_DRAINING),
    (_DRAINING, Event.RENEW): Transition(_DRAINING),
    (_DRAINING, Event.READY): Transition(_DRAINING),
    (_DRAINING, Event.GONE_AT_ONCE): Transition(_STARTING, _AFRESH),
    (_DRAINING, Event.GONE_LATER): Transition(_STARTING, _AFRESH),
    (_DRAINING, Event.GONE_FOR_GOOD): Transition(_STOPPED),
    (_DRAINING, Event.GONE_HOPELESSLY): Transition(_FAILED),
    (_DRAINING, Event.TAKEN_OVER): Transition(_DRAINING),
    (_DRAINING, Event.LINGERS): Transition(_DRAINING),
    (_DRAINING, Event.TURN): Transition(_DRAINING),
    (_DRAINING, Event.DUE): Transition(_DRAINING, _KILL),
    # No worker; one will be started when the timer runs out, or when somebody asks.
    (_BACKOFF, Event.UP): Transition(_STARTING, _SPAWN),
    (_BACKOFF, Event.DOWN): Transition(_STOPPED),
    (_BACKOFF, Event.RENEW): Transition(_STARTING, _AFRESH),
    (_BACKOFF, Event.READY): Transition(_BACKOFF),
    (_BACKOFF, Event.GONE_AT_ONCE): Transition(_BACKOFF),
    (_BACKOFF, Event.GONE_LATER): Transition(_BACKOFF),
    (_BACKOFF, Event.GONE_FOR_GOOD): Transition(_BACKOFF),
    (_BACKOFF, Event.GONE_HOPELESSLY): Transition(_BACKOFF),
    (_BACKOFF, Event.TAKEN_OVER): Transition(_BACKOFF),
    (_BACKOFF, Event.LINGERS): Transition(_DRAINING),
    (_BACKOFF, Event.TURN): Transition(_BACKOFF),
    (_BACKOFF, Event.DUE): Transition(_STARTING, _SPAWN),
    # No worker, none wanted, or its policy let it rest.
    (_STOPPED, Event.UP): Transition(_STARTING, _AFRESH),
    (_STOPPED, Event.DOWN): Transition(_STOPPED),
    (_STOPPED, Event.RENEW): Transition(_STARTING, _AFRESH),
    (_STOPPED, Event.READY): Transition(_STOPPED),
    (_STOPPED, Event.GONE_AT_ONCE): Transition(_STOPPED),
    (_STOPPED, Event.GONE_LATER): Transition(_STOPPED),
    (_STOPPED, Event.GONE_FOR_GOOD): Transition(_STOPPED),
    (_STOPPED, Event.GONE_HOPELESSLY): Transition(_STOPPED),
    (_STOPPED, Event.TAKEN_OVER): Transition(_STOPPED),
    (_STOPPED, Event.LINGERS): Transition(_DRAINING),
    (_STOPPED, Event.TURN): Transition(_STOPPED),
    (_STOPPED, Event.DUE): Transition(_STOPPED),
    # No worker, and none until somebody asks.
    (_FAILED, Event.UP): Transition(_STARTING, _AFRESH),
    (_FAILED, Event.DOWN): Transition(_STOPPED),
    (_FAILED, Event.RENEW): Transition(_STARTING, _AFRESH),
    (_FAILED, Event.READY): Transition(_FAILED),
    (_FAILED, Event.GONE_AT_ONCE): Transition(_FAILED),
    (_FAILED, Event.GONE_LATER): Transition(_FAILED),
    (_FAILED, Event.GONE_FOR_GOOD): Transition(_FAILED),
    (_FAILED, Event.GONE_HOPELESSLY): Transition(_FAILED),
    (_FAILED, Event.TAKEN_OVER): Transition(_FAILED),
    (_FAILED, Event.LINGERS): Transition(_DRAINING),
    (_FAILED, Event.TURN): Transition(_FAILED),
    (_FAILED, Event.DUE): Transition(_FAILED),
}
