"""What is decided about workers (pure), and how it is done.

lifecycle   states of one instance: one table of (state, event)
restart     when a dead worker is replaced (backoff, sliding window)
roster      services and instances, wanted and actual; turns events into actions, by means of
            instances (one at a time), rolling (one after the other), order (after each other's start),
            workers, endings (in words), watches (who waits for what); slots is what it remembers
events, actions     the values that go in and come out

fleet       workers and forkservers as processes: performs the actions, reports the events;
            worker_process: one worker
forkserver, relay   one of these, seen from here; helpers starts them again (placing: whose relay)
guard       looks whether workers hang (board, liveness) or are stopped (stops); statuses: what is broadcast
crash       what follows a death: a report on disk (reports) says what causes, traces, oom, autopsy find out
probe       whether classes and plugins of a configuration can be loaded, for `zocalod --check`
process     start, signal, reap: pidfds, descriptors, memory files; life: what marks them as this daemon's;
            strays, trail: what workers leave behind; groups: of each worker (delegation: where they may be)
logs        the latest lines (logpipe, logfields); where they go: outlets (journal, directing), forwarding
handover    what new code of the supervisor finds: plain (objects), fleet_handover (processes), premises
loop        the one wait for descriptors and deadlines; signals: as events of it; figures: what workers cost
"""
