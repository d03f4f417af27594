"""The example's services on a transport in memory, with crashes at the worst moments."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("dataquality")

import numpy as np
from dataquality import images, scanplot, simulate
from dataquality.filewatcher import FileWatcher
from dataquality.grid import Grid
from dataquality.scanplot import ScanPlot
from dataquality.spotcounter import SpotCounter
from workflows.recipe import Recipe

RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "dataquality.json"
GRID = Grid(4, 3)


class Crash(Exception):
    """The worker dies here."""


class MemoryTransport:
    """Queues in memory: a message that is neither acked nor nacked when its worker dies comes again."""

    def __init__(self):
        self.queues = defaultdict(list)
        self.consumers = {}
        self.unsettled = {}
        self.dead = []
        self.number = 0
        self.transactions = {}
        self.crash_at_commit = 0

    def subscribe(self, queue, callback, **kwargs):
        self.consumers[queue] = callback
        return len(self.consumers)

    def send(self, queue, message, transaction=None, headers=None, **_):
        item = (headers or {}, json.loads(json.dumps(message)))
        self._do(transaction, lambda: self.queues[queue].append(item))

    def ack(self, header, transaction=None):
        self._do(transaction, lambda: self.unsettled.pop(header["message-id"]))

    def nack(self, header):
        self.dead.append(self.unsettled.pop(header["message-id"]))

    def transaction_begin(self, subscription_id):
        assert subscription_id
        self.number += 1
        self.transactions[self.number] = []
        return self.number

    def transaction_commit(self, transaction):
        self.crash_at_commit -= 1
        if self.crash_at_commit == 0:
            raise Crash
        for action in self.transactions.pop(transaction):
            action()

    def _do(self, transaction, action):
        action() if transaction is None else self.transactions[transaction].append(action)

    def deliver(self, queue):
        """Deliver one message; return False if the queue is empty."""
        if not self.queues[queue]:
            return False
        self.number += 1
        item = self.queues[queue].pop(0)
        self.unsettled[self.number] = (queue, item)
        headers, message = item
        self.consumers[queue]({**headers, "message-id": self.number, "subscription": 1}, message)
        return True

    def worker_died(self):
        """Put back what was in hand."""
        for queue, item in self.unsettled.values():
            self.queues[queue].insert(0, item)
        self.unsettled.clear()


class Pipeline:
    """The three services, and the JSONLines' queue as it is filled."""

    def __init__(self, output):
        self.output = output
        self.transport = MemoryTransport()
        self.start_services()

    def start_services(self):
        for service in (FileWatcher(), SpotCounter(), ScanPlot()):
            service.transport = self.transport
            service.initializing()
            if isinstance(service, ScanPlot):
                self.scanplot = service

    def submit(self, images=GRID.size):
        recipe = Recipe(RECIPE.read_text())
        recipe.validate()
        parameters = {"directory": self.output, "images": images, "results": self.output, "grid": "4x3"}
        recipe.apply_parameters({name: str(value) for name, value in parameters.items()})
        (start, payload) = recipe["start"][0]
        message = {"recipe": recipe.recipe, "recipe-pointer": start, "recipe-path": [], "payload": payload}
        self.transport.send(
            recipe[start]["queue"],
            {**message, "environment": {"ID": "scan-1"}},
            headers={"workflows-recipe": True},
        )

    def run(self, rounds=200):
        """Deliver messages until nothing but the watcher's message to itself goes round."""
        for _ in range(rounds):
            for queue in ("filewatcher", "spotcounter", "scanplot"):
                try:
                    self.transport.deliver(queue)
                except Crash:
                    self.in_hand_at_crash = len(self.transport.unsettled)
                    self.transport.worker_died()
                    self.start_services()

    @property
    def results(self):
        return [message["payload"] for _, message in self.transport.queues["jsonlines"]]


def write_images(directory, numbers):
    for frame in simulate.plan(GRID):
        if frame.number in numbers:
            pixels = simulate.expose(frame, np.random.default_rng((7, frame.number)))
            images.write(directory / f"scan_{frame.number:05d}.tif", pixels)


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(tmp_path)


def test_every_image_is_analysed_and_the_scan_is_plotted(pipeline, tmp_path):
    write_images(tmp_path, range(1, 6))
    pipeline.submit()
    pipeline.run(20)
    assert not (tmp_path / "spots.png").exists()
    write_images(tmp_path, range(6, 13))
    pipeline.run(40)
    assert sorted(result["file-number"] for result in pipeline.results) == list(range(1, 13))
    found = {result["file-number"]: result["spots"] for result in pipeline.results}
    assert all(abs(found[frame.number] - frame.spots) <= 2 for frame in simulate.plan(GRID))
    assert (tmp_path / "spots.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".spots*"))
    assert not pipeline.transport.unsettled
    assert not pipeline.transport.dead


@pytest.mark.parametrize("commit", [1, 2, 7, 13, 14])
def test_a_worker_that_dies_before_any_commit_loses_nothing_and_sends_nothing_twice(
    pipeline, tmp_path, commit
):
    write_images(tmp_path, range(1, 13))
    pipeline.submit()
    pipeline.transport.crash_at_commit = commit
    pipeline.run(40)
    assert sorted(result["file-number"] for result in pipeline.results) == list(range(1, 13))
    assert (tmp_path / "spots.png").exists()
    assert not pipeline.transport.unsettled


def test_a_plot_is_settled_with_all_that_is_in_it_or_not_at_all(pipeline, tmp_path):
    write_images(tmp_path, range(1, 13))
    pipeline.submit()
    pipeline.transport.crash_at_commit = 14  # the watcher has committed once, the counter for each image
    pipeline.run(40)
    assert pipeline.in_hand_at_crash == 13
    assert not pipeline.transport.unsettled
    assert not pipeline.transport.dead


def test_images_that_never_come_time_out_and_the_rest_is_plotted(pipeline, tmp_path, monkeypatch):
    write_images(tmp_path, (1, 2, 4))
    pipeline.submit()
    pipeline.run(20)
    monkeypatch.setattr("dataquality.filewatcher.time.time", lambda: 4e9)
    pipeline.run(5)
    assert sorted(result["file-number"] for result in pipeline.results) == [1, 2]
    assert (tmp_path / "spots.png").exists()
    assert not pipeline.transport.queues["filewatcher"]


def test_an_image_that_cannot_be_read_is_dead_lettered_and_the_plot_made_without_it(
    pipeline, tmp_path, monkeypatch
):
    write_images(tmp_path, range(1, 13))
    (tmp_path / "scan_00005.tif").write_bytes(b"no image")
    pipeline.submit()
    pipeline.run(40)
    assert [queue for queue, _ in pipeline.transport.dead] == ["spotcounter"]
    assert not (tmp_path / "spots.png").exists()
    monkeypatch.setattr(scanplot.time, "monotonic", lambda: 1e9)
    pipeline.scanplot.give_up_waiting()
    assert (tmp_path / "spots.png").exists()
    assert not pipeline.transport.unsettled


def test_results_without_a_summary_are_rejected_when_overdue_not_kept_for_ever(
    pipeline, tmp_path, monkeypatch
):
    write_images(tmp_path, (1,))
    pipeline.submit()
    pipeline.run(5)
    assert len(pipeline.transport.unsettled) == 1
    monkeypatch.setattr(scanplot.time, "monotonic", lambda: 1e9)
    pipeline.scanplot.give_up_waiting()
    assert [queue for queue, _ in pipeline.transport.dead] == ["scanplot"]


def test_a_plot_that_cannot_be_written_dead_letters_its_messages(pipeline, tmp_path):
    write_images(tmp_path, range(1, 13))
    (tmp_path / "spots.png").mkdir()
    pipeline.submit()
    pipeline.run(40)
    assert len(pipeline.transport.dead) == 13
    assert not pipeline.transport.unsettled


def test_a_bad_recipe_step_is_rejected(pipeline):
    pipeline.submit(images="many")
    pipeline.run(3)
    assert [queue for queue, _ in pipeline.transport.dead] == ["filewatcher"]
