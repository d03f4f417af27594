"""What the supervisor decides about workers, and how it is done.

lifecycle   states of one instance: one table of (state, event)
restart     when a dead worker is replaced (backoff, sliding window)
roster      services and instances, wanted and actual; turns events into actions, by means of
            instances (one at a time), rolling (one after the other), workers, watches (who waits for what)
slots       what the roster remembers
events, actions     the values that go in and come out
process     forks, pidfds, signals, log pipes: performs actions
"""
