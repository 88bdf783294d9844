"""Ids as types, and what each kind begins with. Making one needs entropy: see `understudy/entropy.py`."""

from typing import Final, Literal, NewType, TypeAlias

ProjectId = NewType("ProjectId", str)
RunId = NewType("RunId", str)
ThreadId = NewType("ThreadId", str)

Kind: TypeAlias = Literal[
    "assistant",
    "thread",
    "message",
    "run",
    "step",
    "call",
    "request",
    "file",
    "upload",
    "part",
    "vector store",
    "file batch",
]

PREFIXES: Final[dict[Kind, str]] = {
    "assistant": "asst_",
    "thread": "thread_",
    "message": "msg_",
    "run": "run_",
    "step": "step_",
    "call": "call_",
    "request": "req_",
    "file": "file-",
    "upload": "upload_",
    "part": "part_",
    "vector store": "vs_",
    "file batch": "vsfb_",
}
