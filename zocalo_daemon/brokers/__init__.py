"""What the relay drives: each broker behind one interface.

base        the interface (Broker), its values (Publication, Delivered, ...)
embedded    durable queues in SQLite, for one machine
memory      the same semantics without a disk, for tests of the relay
"""
