"""What the tests need from the machine: Docker Engines, system packages, the phases themselves.

``python -m tests.machine start`` starts the engines for a developer; see ``__main__``.
"""
