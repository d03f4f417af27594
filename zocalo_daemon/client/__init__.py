"""zocaloctl, the thin client: imports protocol and errors only, because it must start in milliseconds.

main        command line: which command, which socket, which exit status
connection  one connection to the daemon: hello, requests, followers
"""
