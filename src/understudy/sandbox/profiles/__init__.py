"""What is installed into the sandbox's environments: lists of wanted packages, and the pins made from them."""

from importlib.resources import files
from typing import Final, Literal, TypeAlias

__all__ = ["PROFILES", "Profile", "pins"]

Profile: TypeAlias = Literal["minimal", "standard", "full"]
PROFILES: Final[tuple[Profile, ...]] = ("minimal", "standard", "full")


def pins(profile: Profile) -> str:
    """The requirements file of exact versions and hashes: for CPython 3.11 to 3.13 on Linux with glibc."""
    return (files(__package__) / f"{profile}.txt").read_text("utf-8")
