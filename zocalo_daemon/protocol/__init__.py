"""Every language spoken on a socket (pure: bytes in, values out; no I/O).

framing     length-prefixed msgpack maps: control socket, link between supervisor and relay
control     the control protocol between zocaloctl and zocalod: hello, requests, replies
worker      frames between a worker's transport and the relay
channel     messages between supervisor, forkservers and workers (one datagram each)
board       what workers note in shared memory about their progress
tally       what workers count there, for the metrics
trail       what they note of the recipes that they handle
recipe      recipes: what is wrong with one, its graph
"""
