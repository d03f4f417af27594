"""zocaloctl, the thin client: imports protocol and errors only, because it must start in milliseconds.

main        command line: which command, which socket, which exit status
connection  one connection to the daemon: hello, requests, followers
table       text for terminals (pure); output: JSON and colours; watch: the same again each second
status      one screen that says first what does not run
change      start, stop, restart, scale, reload
follow      logs, events; crashes: reports of dead workers; trace: where a recipe is (runs: pure)
submit, go  send, broadcast, go; pickup: the drop files of go; drain: moves messages; cluster: all hosts
queues      queues; deadletters: dlq list, check, purge, reinject; letterfile: a dead letter as a file (pure),
            saving, reinjecting: into files and back; locations: where files are; files: written whole
recipe      recipe files: what is wrong with one; drawing, picture, layers: how one looks (pure);
            placeholders: {name} in it (pure); recipes: the commands
legacy      programs with the names of zocalo's commands
becoming    for commands that become another room in a process of its own:
            doctor (doctor: what is wrong here), wrap (wrapper: a job of a recipe), configure (definitions)
completion  scripts for shells, and what can stand where (names)
version     what is installed here, what is running
"""
