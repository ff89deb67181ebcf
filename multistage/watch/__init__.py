"""Watch mode: on every save, what is right, what is not, and what to try.

The way of a save: ``saves`` (a file changed, and is whole) → ``rounds`` (model, graph, lint, build,
checks, comparison, in this order) → ``loop`` (one round at a time, cancelled by the next save) → a
view: ``terminal`` or ``panel``.
"""
