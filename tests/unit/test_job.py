"""What becomes of a job, and of messages about it that do not arrive."""

from __future__ import annotations

import workflows
from workflows.services.common_service import Status

from zocalo_daemon.wrapper import job
from zocalo_daemon.wrapper.signals import Signals
from zocalo_daemon.wrapper.status import FAREWELL, StatusNotifications


class Work:
    """A job that notes what it is asked to tell; some of that cannot be sent."""

    def __init__(self, result=True, refused=()):
        self.told, self._result, self._refused = [], result, refused

    def run(self):
        self.told.append("run")
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def __getattr__(self, name):
        def tell(payload):
            if name in self._refused:
                raise workflows.Error("no such queue")
            self.told.append(name)

        return tell


class Statuses:
    def __init__(self):
        self.last = None

    def set_status(self, status):
        self.last = status


def run(work):
    statuses = Statuses()
    return job.run(work, statuses, Signals()), work.told, statuses.last


def test_success():
    assert run(Work()) == (0, ["prepare", "run", "success", "done"], Status.END)
    assert run(Work("yes"))[0] == 0


def test_failure():
    told = ["prepare", "run", "failure", "done"]
    assert run(Work(False)) == (1, told, Status.END)
    assert run(Work(None)) == (1, told, Status.END)
    assert run(Work(ValueError())) == (1, told, Status.ERROR)
    assert run(Work(SystemExit(0))) == (1, told, Status.ERROR)
    # A message that the job itself could not send is its own failure.
    assert run(Work(workflows.Error("no such queue"))) == (1, told, Status.ERROR)


def test_an_outcome_that_nobody_hears_of_is_one_of_its_own():
    assert run(Work(refused=["success"])) == (8, ["prepare", "run", "done"], Status.END)
    assert run(Work(refused=["done"])) == (8, ["prepare", "run", "success"], Status.END)
    assert run(Work(False, refused=["failure"])) == (8, ["prepare", "run", "done"], Status.END)


def test_a_job_whose_beginning_cannot_be_told_is_not_begun():
    assert run(Work(refused=["prepare"])) == (8, ["failure", "done"], Status.ERROR)


def test_a_job_does_not_suffer_from_a_status_that_cannot_be_told(caplog):
    def refuse(_status):
        raise workflows.Disconnected("away")

    statuses = StatusNotifications(refuse, "task")
    statuses.taskname += " goes on"
    statuses.set_status(Status.END)
    statuses.shutdown()
    statuses.join(FAREWELL)
    assert not statuses.is_alive()
    assert statuses.taskname == "task goes on"
    assert [record.message for record in caplog.records] == ["The status of the job is not broadcast: away"]


def test_the_last_status_is_told_at_once():
    told = []
    statuses = StatusNotifications(told.append, "task")
    statuses.set_static_status_field("tag", "a")
    statuses.set_status(Status.ERROR)
    statuses.shutdown()
    statuses.join(FAREWELL)
    assert (told[-1]["status"], told[-1]["tag"], told[-1]["task"]) == (7, "a", "task")
