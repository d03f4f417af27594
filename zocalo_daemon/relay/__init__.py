"""The shared transport pool: one process between all workers and the brokers.

main        start-up: descriptors, settings, signals, log
server      the loop
line        a socket of the loop: what has arrived, what waits to be written
channel     the line to one connected transport: frames in and out
session     what that transport says and gets; requests reads the parts of its frames (pure)
ledger      who holds which delivery, what must be confirmed before it is settled (pure); accounts: each one's
deaths      what dead workers held: put back, blamed, or dead-lettered
poison      which messages workers have died of; quarantine: which are delivered too often (pure)
dispatch    how many deliveries a subscription may have, and when to take some back (pure)
member      one transport: its broker and ledger, and who waits for what; consumers: its subscriptions
figures     what is reported of them (pure)
spool       what waits on disk while a broker is away; backlog: its entries; letters: those that the broker
            has refused; spooling decides (pure)
pool        the members by name; moves: those that a reload has changed
link        requests of the supervisor, and reports to it; inspecting: about queues; errands: in a thread;
            bodies: that come in pieces, draining: where what is drained goes (pure); sitelog: to Graylog
cluster     own statuses are broadcast, those of all hosts and commands heard; known: the latest (pure)
"""
