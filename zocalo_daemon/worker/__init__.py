"""What runs services: also in foreign interpreters, so standard library, workflows and msgpack only.

forkserver  imports the services of a runtime, forks workers on request
main        one worker: a CommonService, its pipes to the supervisor, its transport
transport   RelayTransport: what services see of the relay
"""
