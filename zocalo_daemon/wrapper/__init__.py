"""Recipe wrappers: `zocaloctl wrap` runs a job that is a step of a recipe, in a process of its own.

base        BaseWrapper, what the classes of jobs inherit from; DummyWrapper
main        the command line, from the flags to the exit status
lookup      finds the class of a job
site        the site configuration, with the environments and flags of the command line
ways        by which transport its messages go: the daemon's pool, a relay of its own, or another (pure)
connecting  uses them in turn
ownrelay    that relay, where no daemon runs: a cluster node has the same drivers as a daemon
recipe      reads the recipe wrapper file
job         runs the job and says how it ended; signals: what interrupts it
outcome     exit statuses, and errors that keep a job from starting
status      what the job is doing, every 3 seconds to transient.status
"""
