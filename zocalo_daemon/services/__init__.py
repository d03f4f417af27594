"""Zocalo's own services: Dispatcher, JSONLines.

dispatcher  requests for processing to started recipes; request: what it decides (pure)
jsonlines   messages to files of JSON lines
recipe_service  what both share: taking a delivery, rejecting one
envelope    recipe messages: unwrapped, or rejected with a reason
recipes     recipes from messages and files, checked
logbook     a file for each recipe that was started
"""
