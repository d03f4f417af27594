"""The control socket of the supervisor.

commands    what each operation means for the roster (pure)
server      connections, hello, roles, bounded queues
"""
