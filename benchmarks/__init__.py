"""`make bench`: what the daemon costs and how fast it is, with its peers beside it in the same run.

kit         a real daemon and a raw control connection, so that only the daemon is measured
figures     one function per figure: each returns rows (figure, ours, target, peer's)
memory      what an instance costs, by kind of process
supervision the same for what supervision takes and costs
peers       supervisord, circus and zocalo.service, installed in an environment of their own
compare     python -m benchmarks.compare: our transport against workflows' own, on real brokers
sides       what it compares: the same services under zocalod and under zocalo.service
queues      what it fills and counts
relays      python -m benchmarks.relays: four workers over one relay, and over two
__main__    runs them and prints the table, or JSON
trail       python -m benchmarks.trail: what the record of recipes costs a message
embedded_micro, relay_throughput    parts on their own, for profiling
"""
