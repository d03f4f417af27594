"""What the relay drives: each broker behind one interface.

base        the interface (Broker), its values (Publication, ...); inspector: for operators
embedded    durable queues in SQLite (spool_store: for a spool); its parts, from calls to disk:
              planning       what a call means for a batch
              housekeeping   what time brings: delays, expiry, marks
              batch          one transaction, and the state that follows from it
              store, database, waiting    the SQL; the file, its lock, full disks; a queue in memory
              consumers, deliveries    who gets what; topics
              deadletters, browse      headers of dead letters; list, purge, reinject
memory      the same semantics without a disk, for tests of the relay (memory_queues)
rabbitmq    pika; rabbitmq_broker, which says what its parts do: rabbitmq_peer, rabbitmq_clerk,
            rabbitmq_parameters, rabbitmq_reasons, rabbitmq_browse, rabbitmq_consumers, rabbitmq_consumer,
            rabbitmq_intake, rabbitmq_window, rabbitmq_requeues, rabbitmq_publisher, rabbitmq_lane,
            rabbitmq_confirms, rabbitmq_delays, rabbitmq_headers, rabbitmq_visit, rabbitmq_management,
            rabbitmq_wire
activemq    stomp.py; activemq_broker, which says what its parts do: activemq_peer, activemq_browse,
            activemq_visit, activemq_statistics, activemq_consumers, activemq_consumer, activemq_publisher,
            activemq_batches, activemq_frames, activemq_headers, activemq_settling
loop, stream, peer, hosts    for a driver that speaks to a network: timers, sockets, reconnection
"""
