"""The link between supervisor and relay: frames of `framing` over a Unix socket pair.

Requests of the supervisor, each answered by {"id", "ok"} or {"id", "error"} as in the control protocol:
    {"id", "op": "publish", "args": {"kind": "queue"|"topic", "destination", "headers", "body": bytes,
        "delay", "expiration", "transport", "properties": {name of AMQP: value}, "ignore_namespace",
        "origin": [client, number],                         answered when confirmed; stored once per origin
        "of", "size": instead of the body, if it came in pieces}}
        nil, or if it waits on disk {"spooled": true, "transport", "host", "away_since": epoch seconds|nil}
    {"id", "op": "piece", "args": {"of": origin, "data": bytes, nil to forget them}}
                            the next piece of the body of a later publication: bytes so far
    {"id", "op": "queues", "args": {"transport", "patterns"}} [{"transport", "name", "ready", "delayed", ...}]
    {"id", "op": "dlq.list", "args": {"queues": [glob], "transport", "ids": [..]|null, "limit", "after",
        "from": tell a piece of each body from this byte on}}
    {"id", "op": "dlq.purge", "args": {"queues": [glob], "transport", "ids": [..]|null}}      {"count"}
    {"id", "op": "dlq.reinject", "args": {"queues": [glob], "transport", "ids": [..]|null, "destination"}}
                                                                                              {"count"}
                            dlq operations with "spools": true concern the dead letters of spools alone
    {"id", "op": "drain", "args": {"queue", "destination": name, nil for what the recipe says, "transport"}}
                            moves the oldest message: {"destination", "recipe_id"}, nil if there is none
    {"id", "op": "forfeit", "args": {"pid": 4711, "crash": number of the crash report, 0 for a crash without
        one, nil if the end was expected, "limit": max_crashes|nil, "delivery": number of the last delivery
        whose callback began, 0 for none, nil if that is not known}}
                                                            the worker is dead: its deliveries go back at once
        {"held": how many, "delivery": {"number", "transport", "queue", "headers", "body": its first 16 KiB,
        "size" of the whole body, "redelivered", "crashes": [numbers of reports, this one last],
        "dead_lettered", "reason"} or nil if it did not hold that one}
    {"id", "op": "transports", "args": {"transports": [settings], "default_transport"}}
                            have these from now on: one that is different moves by itself, and its transports
                            connect anew; an error changes nothing
    {"id", "op": "statuses", "args": {"statuses": [{"transport": name, "" for the default one, "status": what
        is broadcast of a worker to transient.status}], "broadcast": bool, "repeat": these are all, and are
        to be told every 6 seconds until others come}}
                            about once a second, unless they are repeated; the first one has the relay listen
                            to the topics transient.status and command of every transport
    {"id", "op": "cluster"} {"services": [latest status of each process of all hosts, with "transport" and
                            "seen_s"], "listening_s", "transports": [{"name", "trouble"}]}
    {"id", "op": "log.to", "args": {"configurations": [plugin configurations with Graylog servers]}}
                            have these from now on for `log`
    {"id", "op": "log", "args": {"message": [source, level, text, time, fields]}}  of the daemon itself
    {"id", "op": "ping"}    nil, at once: it lives
    {"id", "op": "exit", "args": {"drain": 3.0}}            finish and exit 0; with `drain`, deliver nothing
                            more, and wait until nothing is in hand, but no more than so many seconds
Reports of the relay, unasked; figures at most twice a second, and only when something has changed:
    {"report": "ready"}                                     it listens, its brokers are opened
    {"report": "figures", "workers": {pid as text: {"worker", "processed", "in_flight", "subscriptions",
        "turns": how often it was read or written}},
        "transports": [{"name", "driver", "state", "since": seconds since the epoch, "host", "detail",
        "next_attempt": monotonic seconds|nil, "connections", "subscriptions", "unsettled", "spooled",
        "spooled_bytes", "spooled_since": when the oldest was submitted, seconds since the epoch|nil}]}
    {"report": "command", "transport", "command": "shutdown", "host": text, "service": text}
                                                            a broadcast command, with at least one filter
    {"report": "log", "level", "logger", "message", "time"} level and time as in `channel`

At start the relay finds its settings, transports with their secrets among them, as one msgpack map in
descriptor 4, a sealed memory file, never in its arguments or environment (supervision/helpers.py).
"""

from __future__ import annotations

MAX_FRAME = 96 * 1024 * 1024  # bytes; a list of dead letters may carry large bodies
MAX_BODY = MAX_FRAME - 1024 * 1024  # bytes of a body in pieces; headers need some room beside it
