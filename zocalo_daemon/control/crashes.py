"""What `crashes` answers: the list of reports, or one of them (pure but for the reading)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from zocalo_daemon.control import targets
from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import NoSuchReport, UsageError
from zocalo_daemon.supervision.reports import Report, Reports
from zocalo_daemon.supervision.roster import Roster


def answer(request: Request, roster: Roster, reports: Reports) -> None:
    """Answer with one report, or with the summaries, oldest first; of services that the peer may see.

    Raises:
        UsageError: arguments of the wrong kind.
        NoSuchReport: there is none of that number.
        NoSuchService: a pattern names neither a service nor one that has reports.
    """
    number = request.args.get("id")
    if number is None:
        request.ok({"crashes": _listed(request, targets.strings(request.args, "targets"), roster, reports)})
        return
    if type(number) is not int or number < 1:
        raise UsageError("id must be the number of a crash report")
    found = reports.read(number)
    if found is None or not request.rights.sees(str(found.get("instance"))):
        raise NoSuchReport(
            f"there is no crash report {number}; zocaloctl crashes lists those that were not deleted yet"
        )
    request.ok(found)


def _listed(request: Request, patterns: Sequence[str], roster: Roster, reports: Reports) -> list[Report]:
    """Return the summaries that patterns select, those of services that were removed, too."""
    known = [summary for summary in reports.summaries() if request.rights.sees(str(summary["instance"]))]
    for pattern in patterns:
        if not any(_matches(summary, pattern) for summary in known):
            with request.rights.discreet():
                targets.find_services(roster, [pattern])
    return [summary for summary in known if not patterns or any(_matches(summary, p) for p in patterns)]


def _matches(summary: Report, pattern: str) -> bool:
    names = (str(summary["service"]), str(summary["instance"]))
    return pattern == "all" or any(fnmatchcase(name, pattern) for name in names)
