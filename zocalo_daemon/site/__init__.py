"""The Zocalo v1 site configuration.

load        files to plain values, every problem at once; in the supervisor
environments    lists, groups and aliases; checks what the built-in plugins ask for
configuration   the object that services get as environment["config"], from those values
plugins     what plugin configurations do in a worker; defaults of transports that a service opens by itself
storage     what the plugin storage says, for commands
logs        the plugin `logging` there: levels, handlers and filters
graylog     handlers that never wait for the server; gelf what it reads; ownlog: which of them
            the daemon uses itself
tracing     the spans of a worker, and where they are sent
secrets     keeps passwords out of reprs and errors
transports  what plugins define for the transport pool
"""
