"""zocalod.yaml: what it may say, reading it, and what changed.

schema      the values (that never change), units and defaults
load        files to values; every problem at once, with file, line, key and suggestion
  places    which files, and the defaults that depend on the user
  nodes     YAML text to a tree that knows its lines; merging
  fields    the table of all keys
  walk      tree and table to values
  sequence  `after` of services: nobody after himself
  checks    names, addresses, files, keys that depend on others
  units     30s, 2GiB, 200%
  problems  collected, and raised as one error
diff        what a reload has to do
  changes     the difference as a value; what each key asks for
  describe    the difference in words
summary     what `zocalod --check` prints
budget      what a configuration needs of the machine; limits: what the machine allows; users: who is on it
"""
