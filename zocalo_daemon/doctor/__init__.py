"""zocaloctl doctor: what is wrong here, whether the daemon runs or not; changes nothing on disk.

main           command line; carries out one check after the other, each with a time limit
findings       a finding, and lists of them: their order, text and JSON (pure)
situation      what the checks look at and tell each other: whose daemon, which files, what it answers
access         who may read, write and replace what, from modes and owners (pure, but for `path_problem`)
running        asks the daemon; judging: relay, services, dead letters, by what it answers (pure)
configuration  zocalod.yaml and the site configuration; secrets; variables that mislead
state          state directory: owner, room, lock, times
sockets        stale, foreign, open to others, closed to this user
brokers        databases of the embedded broker, hosts of the others
runtimes       interpreters, and whether they can load the services
limits         whether they are high enough for the configuration
metrics        the port of metrics and health
machine        Python, kernel, clock
"""
