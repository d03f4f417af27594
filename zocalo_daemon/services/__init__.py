"""Zocalo's own services: Dispatcher, JSONLines."""
