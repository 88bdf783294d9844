"""What is said of a setting beside its type: the heading that it stands under, and its description."""

from enum import Enum

from msgspec import Meta


class Group(Enum):
    """A heading in the help and in the docs, in this order."""

    FIRST = "The first minute"
    SERVER = "Server"
    MODEL = "Model server"
    STAND_IN = "Stand-in model"
    RUNS = "Runs"
    FILES = "Files"
    SEARCH = "File search"
    CODE = "Code interpreter"
    WIRE = "Wire"
    LOG = "Log"


def about(group: Group, description: str, *, secret: bool = False, default: str | None = None) -> Meta:
    """`default` is said in words where it depends on the machine. A `secret` is never shown."""
    return Meta(description=description, extra={"group": group, "secret": secret, "default": default})
