"""The shared transport pool: one process between all workers and the brokers.

main        start-up and the loop
channel     one connected transport: frames in and out, bounded
ledger      who holds which delivery, what must be confirmed before it is settled (pure)
dispatch    how many deliveries a subscription may have, and when to take some back (pure)
pool        the brokers by transport name
"""
