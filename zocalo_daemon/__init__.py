"""One daemon for all Zocalo services of a server.

Processes and who holds what (docs/architecture.md says more):
    main, daemon        zocalod: command line, and the one event loop of the supervisor
    supervision         what the supervisor decides about workers (pure), and how it does it
    control             the control socket of the supervisor
    client              zocaloctl
    worker              forkserver, worker process and the transport that services see
    relay               shared transport pool: ledger of deliveries, flow of credit
    brokers             what the relay drives: embedded (SQLite), memory, ...
    site, services      the Zocalo site configuration, and Zocalo's own services
    config, protocol, errors    zocalod.yaml, every language spoken on a socket, every error
    values              what classes of named fields are made of, where the supervisor needs them
"""

__version__ = "0.1.0"
