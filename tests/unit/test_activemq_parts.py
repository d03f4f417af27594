"""The decisions of the ActiveMQ driver that need no broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stomp import utils

from zocalo_daemon.brokers.activemq_batches import ATTEMPTS, MOST_MESSAGES, Batches, Job
from zocalo_daemon.brokers.activemq_consumer import (
    MOST_SLOTS,
    Arrival,
    Consumer,
    Requeues,
    Slot,
    Unseen,
    temporary_name,
)
from zocalo_daemon.brokers.activemq_frames import Splitter, Unreadable, encode, escaped
from zocalo_daemon.brokers.activemq_headers import LONGEST, Names, as_sent, from_stomp, to_stomp
from zocalo_daemon.brokers.base import Kind, Publication, Source

# -- Frames

STREAM = (
    b"\n\nRECEIPT\nreceipt-id:1\n\n\0\n\r\n"
    b"MESSAGE\r\ncontent-length:3\r\na:b\r\n\r\na\0b\0ERROR\n\nno length\0"
)
FRAMES = [
    ("RECEIPT", {"receipt-id": "1"}, b""),
    ("MESSAGE", {"content-length": "3", "a": "b"}, b"a\0b"),
    ("ERROR", {}, b"no length"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
def test_frames_are_the_same_however_the_bytes_come(size):
    splitter = Splitter()
    found = []
    for start in range(0, len(STREAM), size):
        found += splitter.feed(STREAM[start : start + size])
    assert found == FRAMES


def test_what_is_no_frame_is_an_error():
    with pytest.raises(Unreadable, match="longer than it says"):
        Splitter().feed(b"MESSAGE\ncontent-length:1\n\nab\0")
    with pytest.raises(Unreadable, match="over 100 bytes"):
        Splitter(100).feed(bytes(101))
    with pytest.raises(Unreadable, match="over 100 bytes"):
        Splitter(100).feed(b"MESSAGE\ncontent-length:101\n\n")
    for head in (b"content-length:many", b"a:\xff"):
        with pytest.raises(ValueError):
            Splitter().feed(b"MESSAGE\n%b\n\n\0" % head)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name.strip())


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]))), st.binary())
def test_a_frame_is_what_stomp_py_makes_of_it_and_comes_back(headers, body):
    headers["content-length"] = str(len(body))
    written = encode("SEND", {escaped(key): value for key, value in headers.items()}, body)
    theirs = utils.parse_frame(written[:-1])
    assert (theirs.cmd, theirs.headers, theirs.body) == ("SEND", headers, body)
    assert Splitter().feed(written) == [("SEND", headers, body)]


def test_the_first_of_two_headers_counts():
    assert Splitter().feed(b"MESSAGE\na:1\na:2\n\n\0") == [("MESSAGE", {"a": "1"}, b"")]


# -- Names and headers


@pytest.mark.parametrize(
    ("prefix", "name", "destination"),
    [
        ("", "q", "/queue/q"),
        ("zoc", "q", "/queue/zoc.q"),
        ("zoc.", "q", "/queue/zoc.q"),
        ("zoc", "dlq.q", "/queue/DLQ.zoc.q"),
        ("", "dlq.q", "/queue/DLQ.q"),
        ("zoc", "ActiveMQ.DLQ", "/queue/ActiveMQ.DLQ"),
    ],
)
def test_names(prefix, name, destination):
    names = Names(prefix)
    assert names.destination(Kind.QUEUE, name) == destination
    assert names.name(destination) == name


def test_topics_have_the_prefix_and_advisories_have_not():
    names = Names("zoc")
    assert names.destination(Kind.TOPIC, "transient.status") == "/topic/zoc.transient.status"
    assert names.destination(Kind.TOPIC, "ActiveMQ.Advisory.Queue") == "/topic/ActiveMQ.Advisory.Queue"


def stomp(headers=None, body=b"", **options):
    return to_stomp(Publication(Kind.QUEUE, "q", headers or {}, body, **options), "/queue/q", 1000.0)


def test_what_a_message_carries():
    plain = {"destination": "/queue/q", "persistent": "true", "content-length": "2"}
    assert stomp(body=b"ab") == plain
    made = stomp(delay=1.5, expiration=0.25, priority=7, persistent=False)
    assert (made["AMQ_SCHEDULED_DELAY"], made["expires"], made["priority"]) == ("1500", "1000250", "7")
    assert made["persistent"] == "false"


def test_headers_become_text_and_back():
    made = stomp({"n": 1, "f": 1.5, "b": True, "none": None, "a:b": "c\nd", "x-death": [{"queue": "q"}]})
    assert (made["n"], made["f"], made["b"], made["a\\cb"]) == ("1", "1.5", "True", "c\nd")
    assert "none" not in made
    assert from_stomp({"x-death": made["x-death"], "n": "1"}) == {"x-death": [{"queue": "q"}], "n": "1"}
    assert from_stomp({"x-death": "none of ours"}) == {"x-death": "none of ours"}


def test_headers_that_were_received_disturb_nothing_when_they_are_sent_on():
    got = {"destination": "/queue/other", "receipt": "1", "transaction": "t", "message-id": "m", "own": "x"}
    assert stomp(got) == stomp({"own": "x"})
    assert as_sent({**got, "expires": "1", "timestamp": "2", "priority": "4"}) == {"own": "x"}


@pytest.mark.parametrize(
    "headers",
    [
        {"": 1},
        {"a": "x" * LONGEST},
        {str(n): n for n in range(1000)},
        {"expires": "soon"},
        {"expires": "9" * 30},
    ],
)
def test_headers_over_which_the_broker_would_end_the_connection_are_refused(headers):
    with pytest.raises(ValueError, match="header"):
        stomp(headers)


# -- Slots


def consumer(prefetch=0, **options) -> Consumer:
    return Consumer(1, Source(Kind.QUEUE, "q", prefetch=prefetch, **options), "q", "/queue/q")


def add(to: Consumer, held: int = 0) -> Slot:
    slot = Slot(str(len(to.slots)), to.slot_size, held=held)
    to.slots[slot.id] = slot
    return slot


@pytest.mark.parametrize(("prefetch", "size"), [(0, 1), (1, 1), (256, 1), (300, 2), (65535, 256)])
def test_a_large_prefetch_makes_large_slots(prefetch, size):
    assert consumer(prefetch).slot_size == size


def test_credit_opens_slots_and_what_is_in_hand_does_not_count():
    one = consumer()
    one.allowed = 3
    assert one.wanted == 3
    add(one)
    assert one.wanted == 2
    add(one, held=1)
    assert one.wanted == 2
    one.allowed = 1000
    assert one.wanted == MOST_SLOTS - 2
    one.parked = 1
    assert one.wanted == MOST_SLOTS - 1
    one.cancelled = True
    assert one.wanted == 0


def test_an_exclusive_consumer_has_one_slot_of_its_whole_prefetch():
    one = consumer(5, exclusive=True)
    one.allowed = 5
    assert (one.wanted, one.slot_size) == (0, 5)
    assert one.headers(add(one))["activemq.prefetchSize"] == 5


def test_what_begins_a_slot():
    one = consumer(exclusive=True, priority=3, selector="a = 1", retroactive=True)
    made = one.headers(add(one))
    assert made["ack"] == "client-individual" and made["selector"] == "a = 1"
    assert made["activemq.exclusive"] == made["activemq.retroactive"] == "true"
    assert made["activemq.priority"] == 3
    topic = Consumer(2, Source(Kind.TOPIC, "t"), "t", "/topic/t")
    assert topic.headers(Slot("x", 1))["ack"] == "auto"


def test_who_may_take_over():
    mine, other = consumer(), consumer()
    assert not other.may_take_over(mine)
    other.allowed = 1
    assert other.may_take_over(mine)
    selective, exclusive = consumer(selector="a = 1"), consumer(exclusive=True)
    selective.allowed = exclusive.allowed = 1
    assert not selective.may_take_over(mine) and not exclusive.may_take_over(mine)
    assert exclusive.may_take_over(exclusive)


def test_what_went_back_unseen_is_known_once():
    unseen = Unseen()
    made = Arrival(consumer(), Slot("s", 1), "a", "ID:1", {}, b"", redelivered=False)
    unseen.add(made)
    assert unseen.take("ID:1") and not unseen.take("ID:1")
    made.redelivered = True
    unseen.add(made)
    assert not unseen.take("ID:1")


def test_what_is_put_back_waits_longer_each_time():
    requeues = Requeues()
    assert [requeues.delay("a") for _ in range(3)] == [0.1, 0.2, 0.4]
    assert requeues.delay("b") == 0.1
    assert [requeues.delay("a") for _ in range(50)][-1] == 60.0


def test_names_of_temporary_queues():
    made = temporary_name("hint")
    assert made.startswith("transient.hint.") and temporary_name(made) == made
    assert temporary_name("").startswith("transient.reply.")


# -- Batches


class Jobs:
    """Jobs whose ends are noted."""

    def __init__(self) -> None:
        self.batches = Batches()
        self.ends: dict[str, object] = {}

    def add(self, name: str, count: int = 1, body: bytes = b"") -> None:
        messages = [({"destination": f"/queue/{name}"}, body) for _ in range(count)]
        self.batches.add(Job(messages, lambda refusal: self.ends.__setitem__(name, refusal)))

    def next(self, native: bool = True) -> list[str]:
        return [line(command) for command in self.batches.next(native)]

    def receipt(self, receipt: str) -> list[str]:
        commands, jobs = self.batches.receipt(receipt)
        for job in jobs:
            job.done(None)
        return [line(command) for command in commands]

    def error(self, receipt: str, reason: str = "no") -> list[str]:
        commands, refused = self.batches.error(receipt, reason)
        for job, refusal in refused:
            job.done(refusal)
        return [line(command) for command in commands]

    def lost(self) -> None:
        for job, refusal in self.batches.lost():
            job.done(refusal)


def line(command) -> str:
    word, headers, _ = command
    return " ".join([word, *(headers[key] for key in ("transaction", "receipt") if key in headers)])


def test_one_message_needs_no_transaction():
    jobs = Jobs()
    jobs.add("a")
    assert jobs.next() == ["SEND send.1.0"] and jobs.next() == []
    jobs.receipt("send.1.0")
    assert jobs.ends == {"a": None} and len(jobs.batches) == 0


def test_many_messages_share_one_and_the_next_batch_goes_while_the_broker_writes():
    jobs = Jobs()
    jobs.add("a")
    jobs.add("b", 2)
    assert jobs.next() == ["BEGIN z1", "SEND z1", "SEND z1", "SEND z1", "BEGIN e1", "ABORT e1 sent.1"]
    jobs.add("c")
    assert jobs.next() == []
    assert jobs.receipt("sent.1") == ["COMMIT z1 commit.1"]
    assert jobs.ends == {}
    assert jobs.next() == ["SEND send.2.0"]
    jobs.receipt("commit.1")
    assert jobs.ends == {"a": None, "b": None}
    jobs.receipt("send.2.0")
    assert "c" in jobs.ends


def test_a_refusal_undoes_the_batch_and_is_found_one_by_one():
    jobs = Jobs()
    for name in "ab":
        jobs.add(name)
    jobs.next()
    assert jobs.error("") == ["ABORT z1"]
    assert jobs.next() == ["SEND send.2.0"]
    jobs.receipt("send.2.0")
    assert jobs.next() == ["SEND send.3.0"]
    jobs.error("send.3.0", "not allowed")
    assert jobs.ends["a"] is None
    assert jobs.ends["b"] == ("invalid", "the broker refuses a message to '/queue/b': not allowed")


def test_a_refusal_that_names_nothing_concerns_what_is_alone():
    jobs = Jobs()
    jobs.add("a", 2)
    jobs.next()
    jobs.error("")
    jobs.next()
    assert jobs.error("") == ["ABORT z2"]
    assert jobs.ends["a"][0] == "invalid"


def test_a_unit_that_is_alone_is_refused_as_a_whole_and_names_the_message():
    jobs = Jobs()
    jobs.add("a", 2)
    jobs.next()
    jobs.receipt("sent.1")
    jobs.error("commit.1")
    assert jobs.next() == ["BEGIN z2", "SEND z2 send.2.0", "SEND z2 send.2.1"]
    assert jobs.error("send.2.1", "Usage Manager Memory Limit reached") == ["ABORT z2"]
    assert jobs.ends["a"][0] == "full"


def test_a_commit_that_fails_is_made_again_job_by_job():
    jobs = Jobs()
    jobs.add("a")
    jobs.add("b")
    jobs.next()
    jobs.receipt("sent.1")
    jobs.error("commit.1")
    assert jobs.ends == {}
    assert jobs.next() == ["SEND send.2.0"]


def test_without_transactions_each_message_has_its_receipt():
    jobs = Jobs()
    jobs.add("a")
    jobs.add("b")
    assert jobs.next(native=False) == ["SEND send.1.0", "SEND send.1.1"]
    jobs.receipt("send.1.1")
    assert jobs.ends == {}
    jobs.receipt("send.1.0")
    assert jobs.ends == {"a": None, "b": None}


def test_what_a_lost_connection_leaves_open_is_sent_again_in_order():
    jobs = Jobs()
    jobs.add("a", 2)
    jobs.next()
    jobs.receipt("sent.1")
    jobs.add("b", 2)
    jobs.next()
    jobs.add("c")
    jobs.lost()
    assert len(jobs.batches) == 3
    sent = [headers["destination"][-1:] for word, headers, _ in jobs.batches.next(True) if word == "SEND"]
    assert sent == ["a", "a", "b", "b", "c"]


def test_a_message_that_ends_every_connection_is_found_and_refused():
    jobs = Jobs()
    jobs.add("good")
    jobs.add("bad")
    for _ in range(30):
        commands = jobs.next()
        if not commands:
            break
        if any("bad" in str(job.messages) for job in jobs.batches._sending.jobs):
            jobs.lost()
        else:
            jobs.receipt(commands[-1].split()[-1])
    assert jobs.ends["good"] is None and jobs.ends["bad"][0] == "invalid"
    assert ATTEMPTS > 2


def test_a_batch_has_a_bound():
    jobs = Jobs()
    for number in range(MOST_MESSAGES + 10):
        jobs.add(str(number))
    assert sum(command.startswith("SEND") for command in jobs.next()) == MOST_MESSAGES
    large = Jobs()
    for name in "abc":
        large.add(name, body=bytes(3_000_000))
    assert len(large.next()) == 1
