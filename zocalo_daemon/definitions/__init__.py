"""zocaloctl configure-rabbitmq: makes RabbitMQ hold what a file defines, over its management API.

main       command line: reads, plans, shows, carries out
document   the file: virtual hosts, permissions, policies, exchanges, groups of queues, bindings
users      the files with users, and RabbitMQ's password hashes
items      a definition, whatever its kind; what makes two of them the same (pure)
broker     what the broker has, by what its API answers (pure)
plan       what is to be made, changed and removed, and in which order (pure)
show       a plan as lines and as JSON (pure)
where      which management API: that of the site configuration, else of zocalod.yaml
"""
