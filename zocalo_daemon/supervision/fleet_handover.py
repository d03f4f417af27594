"""The fleet's part of a handover: workers and forkservers with their descriptors."""

from __future__ import annotations

import selectors
from typing import Any

from zocalo_daemon.supervision.board import Board
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.logpipe import LogPipe
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.worker_process import Process


def hand_over(fleet: Fleet, leaving: Leaving) -> dict[str, Any]:
    """Return what `take_over` makes the same fleet of."""
    servers = _forkservers(fleet)
    return {
        "board": {"fd": leaving.keep(fleet.board.fileno()), "taken": fleet.board.taken},
        "forkservers": [server.hand_over(leaving) for server in servers],
        "logs": {servers.index(server): log.hand_over(leaving) for server, log in fleet.running.items()},
        "used": {name: servers.index(server) for name, server in fleet.forkservers.items()},
        "workers": [
            {**worker.hand_over(leaving), "from": servers.index(worker.forkserver)}
            for worker in fleet.processes.values()
        ],
    }


def take_over(
    fleet: Fleet, state: dict[str, Any], taking: Taking, selector: selectors.BaseSelector, logbook: LogBook
) -> None:
    """Have a fleet go on with the processes of the old code; the loop sees which of them have ended."""

    def log_pipe(log: dict[str, Any]) -> LogPipe:
        return LogPipe.take_over(log, taking, selector, logbook)

    fleet.board.close()
    fleet.board = Board(taking.file(state["board"]["fd"]), state["board"]["taken"])
    servers = [Forkserver.take_over(one, taking) for one in state["forkservers"]]
    for index, log in state["logs"].items():
        fleet.listen(servers[index], log_pipe(log))
    fleet.forkservers.update({name: servers[index] for name, index in state["used"].items()})
    for one in state["workers"]:
        fleet.take_in(Process.take_over(one, taking, servers[one["from"]], log_pipe))


def _forkservers(fleet: Fleet) -> list[Forkserver]:
    """Return all that are alive or referred to: one in use may be none that could be started."""
    referred = (*fleet.forkservers.values(), *(worker.forkserver for worker in fleet.processes.values()))
    return list(dict.fromkeys((*fleet.alive(), *referred)))
