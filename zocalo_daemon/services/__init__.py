"""Zocalo's own services: Dispatcher, JSONLines, Mailer, Quarantine.

dispatcher  requests for processing to started recipes; request: what it decides (pure)
jsonlines   messages to files of JSON lines
mailer      messages to mails; mail: how one is made, and what a refusal means (pure)
quarantine  takes out of their queues what is delivered too often
recipe_service  what the others share: taking a delivery, rejecting one, sending on what comes of it
envelope    recipe messages: unwrapped, or rejected with a reason
recipes     recipes from messages and files, checked
logbook     a file for each recipe that was started
"""
