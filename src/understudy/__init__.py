"""Understudy: a self-hosted, drop-in server for the Assistants API v2."""

from importlib.metadata import version

__version__ = version("understudy")
