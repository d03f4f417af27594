"""The control socket of the supervisor.

commands    what each operation means for the roster (pure)
server      the listening socket: who comes in, and as whom
connection  one client: hello, frames, bounded output
letters     dead letters that fit into one frame (pure)
request     what an operation sees of a client
"""
