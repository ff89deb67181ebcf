"""The devices that a container has, as numbers: major and minor.

Source: https://www.kernel.org/doc/Documentation/admin-guide/devices.txt. Nothing is imported here:
the launcher runs without the package.
"""

DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
