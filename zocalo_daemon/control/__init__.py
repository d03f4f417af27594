"""The control socket of the supervisor, and what its operations do.

server      the listening socket: who comes in, and as whom (roles)
connection  one client: hello, frames; outbox: what it has not read yet
request     what an operation sees of a client
operations  carries out the operations; their parts:
              commands   what each one means for the roster (pure)
              targets    which instances a person means (pure)
              report     the document of `zocaloctl status` (pure); about: the daemon's own part, and the rest
              crashes    crash reports; trace: the record of recipes
              letters    dead letters that fit into one frame (pure); pieces: bodies that do not
cluster     what is broadcast of the workers (surroundings: where they run), and the commands that are obeyed
web         metrics and health by HTTP (http: the server), with the pages metrics and health (pure)
manager     what systemd is told of all this; watchdog: that it lives
reload      the configuration again, and only the difference
reexec      the supervisor's own code again, by means of
              takeover   all that the old code leaves to the new one
              renewal    new forkservers and a new relay
"""
