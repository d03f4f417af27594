"""The Zocalo v1 site configuration.

load        files to plain values (environments resolved); needs PyYAML
configuration   the object that services get as environment["config"], from plain values
plugins     built-in plugins: storage, logging
"""
