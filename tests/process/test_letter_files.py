"""dlq check, purge and reinject with files, by a daemon: zocalo.dlq_check, dlq_purge, dlq_reinject."""

import json
import subprocess

import pytest

from tests.daemonkit import COMMANDS, SERVICES, Daemon
from tests.waiting import wait_until

REFUSER = '''
from workflows.services.common_service import CommonService


class Refuser(CommonService):
    """Refuses every message."""

    def initializing(self):
        self._transport.subscribe("refused", self.refuse, acknowledgement=True)

    def refuse(self, header, message):
        self._transport.nack(header)
'''


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """A daemon whose one service refuses everything."""

    directory = tmp_path_factory.mktemp("refusing")
    (directory / "refuser.py").write_text(REFUSER)
    (directory / "site.yaml").write_text(
        "version: 1\nenvironments: {default: [storage]}\n"
        f"storage: {{plugin: storage, zocalo.dlq.purge_location: {directory}/site-dlq}}\n"
    )
    runtimes = {"default": {"python_path": [str(SERVICES), str(directory)]}}
    d = Daemon(
        directory,
        {"refuser": {"class": "refuser:Refuser"}},
        runtimes=runtimes,
        site=str(directory / "site.yaml"),
    )
    yield d.start()
    d.close()


@pytest.fixture
def d(refusing):
    """The daemon, without dead letters."""
    refusing.ctl("dlq", "purge", "--yes", "--discard")
    return refusing


def letters(d):
    return json.loads(d.ctl("dlq", "list", "--json").stdout)


def refuse(d, *bodies, headers=()):
    before = len(letters(d))
    for body in bodies:
        d.ctl("send", "refused", body, *(f"--header={one}" for one in headers))
    wait_until(lambda: len(letters(d)) == before + len(bodies))


def run(d, *args, **options):
    command = [str(COMMANDS / "zocaloctl"), "--socket", str(d.socket), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_check_counts_and_fails(d):
    assert d.ctl("dlq", "check").stdout == "No DLQ messages found\n"
    refuse(d, "1", "2")
    done = d.ctl("dlq", "check", check=False)
    assert done.returncode == 1
    assert done.stdout == "DLQ for refused contains 2 entries\n"
    assert done.stderr == "zocaloctl: Total of 2 DLQ messages found\n"
    assert d.ctl("dlq", "check", "-n", "other").stdout == "No DLQ messages found\n"
    assert json.loads(d.ctl("dlq", "check", "--json", check=False).stdout) == {"dlq.refused": 2}


def test_purge_and_reinject_are_a_round_trip_by_a_pipe(d, tmp_path):
    bodies = ['{"n": 1}', '{"a":2,"a":3}', '"ü"', "[1.50]"]
    refuse(d, *bodies, headers=["k=v", "workflows-recipe=True"])
    before = letters(d)
    place = tmp_path / "a place"
    purge = subprocess.Popen(
        [str(COMMANDS / "zocaloctl"), "--socket", str(d.socket), "dlq", "purge", "--location", str(place)],
        stdout=subprocess.PIPE,
    )
    done = run(d, "dlq", "reinject", "-d", "dlq.kept", stdin=purge.stdout)
    assert purge.wait(30) == 0
    assert done.returncode == 0, done.stderr
    assert len(files(place)) == 4  # --remove was not asked for
    after = letters(d)
    assert {one["queue"] for one in after} == {"dlq.kept"}
    assert [one["body"] for one in after] == bodies
    for was, now in zip(before, after, strict=True):
        assert now["headers"] == {**was["headers"], "dlq-reinjected": True}
        assert now["headers"]["k"] == "v"


def test_files_go_where_they_came_from_and_only_then_away(d, tmp_path):
    refuse(d, '{"n": 1}', '{"n": 2}')
    d.ctl("dlq", "purge", "refused", "--location", str(tmp_path))
    assert letters(d) == []
    first, second = files(tmp_path)
    content = json.loads(first.read_text())
    assert (content["message"], content["exported"]["origin"]) == ({"n": 1}, "refused")
    broken = tmp_path / "broken"
    broken.write_text('{"header": {}')
    done = d.ctl("dlq", "reinject", "-r", str(broken), str(first), str(tmp_path / "none"), check=False)
    assert done.returncode == 1
    assert "broken: it is not JSON" in done.stderr and "none: No such file" in done.stderr
    assert done.stdout.startswith(f"Parsing message from {first}\n")
    assert files(tmp_path) == sorted([broken, second])
    wait_until(lambda: [one["body"] for one in letters(d)] == ['{"n": 1}'])  # refused again


def test_purge_writes_where_the_site_says(d):
    refuse(d, "5")
    done = d.ctl("dlq", "purge", "refused")
    (path,) = files(d.directory / "site-dlq")
    assert f"        {path}\n" in done.stdout
    assert done.stdout.splitlines()[1:2] == ["Found 1 DLQ messages in dlq.refused"]
    assert done.stdout.endswith("Done.\n")
    assert letters(d) == []


def test_only_some_of_them(d, tmp_path):
    refuse(d, "1", "2", "3")
    wanted = letters(d)[1]["id"]
    d.ctl("dlq", "purge", "refused", "--id", str(wanted), "--location", str(tmp_path))
    assert [one["body"] for one in letters(d)] == ["1", "3"]
    done = d.ctl("dlq", "purge", "refused", "--id", "999999", "--location", str(tmp_path), check=False)
    assert (done.returncode, len(files(tmp_path))) == (1, 1)


def test_large_letters_share_no_frame_and_those_that_fit_none_come_in_pieces(d, tmp_path):
    large = json.dumps("x" * 3_000_000)
    for body in (large, large, "1"):
        d.ctl("send", "refused", "-", stdin=body)
    too_large = json.dumps("y" * 3_800_000)
    d.ctl("send", "refused", "-", stdin=too_large)
    wait_until(lambda: len(letters(d)) == 4)
    d.ctl("dlq", "purge", "--location", str(tmp_path))
    assert sorted(len(json.loads(path.read_text())["message"] if path.stat().st_size > 9999 else "")
                  for path in files(tmp_path)) == [0, 3_000_000, 3_000_000, 3_800_000]  # fmt: skip
    assert letters(d) == []


def test_nothing_is_deleted_that_could_not_be_written(d, tmp_path):
    refuse(d, "1")
    (tmp_path / "file").write_text("")
    done = d.ctl("dlq", "purge", "--location", str(tmp_path / "file" / "below"), check=False)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert len(letters(d)) == 1


def test_the_broker_side_meanings_stay(d, tmp_path):
    refuse(d, "1", "2")
    assert (
        d.ctl("dlq", "reinject", "refused", "-d", "dlq.aside").stdout == "2 dead letters sent to dlq.aside\n"
    )
    assert (
        run(d, "dlq", "reinject", "-d", "dlq.third", input="").stdout == "2 dead letters sent to dlq.third\n"
    )
    assert d.ctl("dlq", "purge", "third", "--discard").stdout == "2 dead letters deleted\n"
    for wrong in (["refused", "-r"], ["refused", "./file"], ["-", "-v"]):
        assert d.ctl("dlq", "reinject", *wrong, check=False, stdin="nothing\n").returncode == 2
