from zocalo_daemon.supervision.forwarding import BEHIND, KEPT, Forwarding
from zocalo_daemon.supervision.logs import LogBook

GRAYLOG = {"plugin": "graylog", "protocol": "UDP", "host": "h", "port": 12201}
SITE = {"environments": {"e": ["g"]}, "active": ["e"], "configurations": {"g": GRAYLOG}}


class Relay:
    def __init__(self):
        self.state, self.behind, self.told = "starting", 0, []

    def tell(self, op, args):
        self.told.append((op, args))

    def texts(self):
        return [args["message"][2] for op, args in self.told if op == "log"]


def made(site):
    relay, book = Relay(), LogBook(lambda: 1.0, None)
    current = [site]
    return relay, book, current, Forwarding(relay, book, lambda: current[0])


def test_messages_wait_for_the_relay():
    relay, book, _, forwarding = made(SITE)
    book.add("zocalod", 20, "starts")
    book.add("s/0", 20, "logged", more={})
    assert relay.told == []
    relay.state = "ready"
    forwarding.tell()
    book.add("zocalod", 30, "s/0 failed", fields={"instance": "s/0"})
    assert relay.told[0] == ("log.to", {"configurations": [GRAYLOG]})
    assert relay.texts() == ["starts", "s/0 failed"]
    about = {"instance": "s/0", "service": "s", "source": "zocalod"}
    assert relay.told[-1] == ("log", {"message": ["zocalod", 30, "s/0 failed", 1.0, about]})


def test_without_a_server_the_relay_hears_of_nothing():
    relay, book, current, forwarding = made(None)
    relay.state = "ready"
    book.add("zocalod", 20, "one")
    forwarding.tell()
    assert relay.told == []
    current[0] = SITE
    forwarding.tell()
    book.add("zocalod", 20, "two")
    current[0] = None
    forwarding.tell()
    book.add("zocalod", 20, "three")
    assert relay.texts() == ["two"]
    assert relay.told[-1] == ("log.to", {"configurations": []})


def test_a_relay_that_does_not_read_is_not_buried():
    relay, book, _, forwarding = made(SITE)
    relay.state, relay.behind = "ready", BEHIND
    for number in range(KEPT + 5):
        book.add("zocalod", 20, str(number))
    assert relay.texts() == []
    relay.behind = 0
    forwarding.tell()
    texts = relay.texts()
    assert texts[0] == "5 messages dropped here: too many at once"
    assert texts[1:] == [str(number) for number in range(KEPT)]
