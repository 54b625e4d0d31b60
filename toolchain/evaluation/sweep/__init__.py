"""Many evaluations from one file: method × model × corruption × seed × ratio.

- config: the file, and the trials that it asks for
- trial: one of them, and its result on disk
- workers: this process, or a Ray cluster
- campaign: what is still to do, done once
- report: all results as tables and pictures
"""
