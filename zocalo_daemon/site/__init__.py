"""The Zocalo v1 site configuration.

load        files to plain values (environments resolved), every problem at once; in the supervisor
configuration   the object that services get as environment["config"], from those values
plugins     what plugin configurations do in a worker
storage     what the plugin storage says, for commands
transports  what they define for the transport pool; brokers checks it
"""
