"""What runs services: also in foreign interpreters, so standard library, workflows and msgpack only.

launch      the command line of a forkserver, for the supervisor
forkserver  imports the services of a runtime; lookup finds their classes, fingerprint tells their code apart
rehearsal   starts and stops a service before the first fork; layout puts together what workers touch
forking     answers the supervisor's requests for workers
main        one worker: a CommonService, its transport, its pipes to the supervisor (pipes), its log (records)
            recycling says when it has done enough, traces where its tracebacks go, groups how it is confined,
            identity as whom it runs, idle runs its timer under load
transport   RelayTransport: what services see of the relay; its parts:
              inbox          subscriptions, what is handed out, how it is settled (subscription)
              around         what happens around each callback; trail: what it notes of recipes
              transactions   those that are open
              company        the other transports of the process, and what they have sent
              connection     the line to the relay, kept up (dial, question)
              board          what it notes about its progress, for the supervisor
              messages       from arguments to what travels, and back (pure)
"""
