"""zocalod.yaml: what it may say, reading it, and what changed.

schema      the values (frozen dataclasses), units and defaults
load        files to values; every problem at once, with file, line, key and suggestion
diff        what a reload has to do
"""
