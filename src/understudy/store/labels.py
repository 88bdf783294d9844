"""Metadata is the clients': a worker's append keeps what they gave the run and its message meanwhile.

Clients may change metadata at any time, also while a worker holds an older copy of the object, and that change is no
fact. Without this the worker's next append would undo it, or its readers would be shown what no GET shows.
"""

from msgspec.structs import replace

from understudy.core.run.machine import Decision
from understudy.core.run.state import Fact, MessageFact, RunFact
from understudy.ports import Append
from understudy.store.codec import decode_metadata
from understudy.store.operations import Op, Query
from understudy.wire.messages import Message

_MESSAGE = "SELECT body FROM messages WHERE id = ?"


def relabelled(append: Append, run_body: bytes) -> Op[Decision]:
    """What the append says, with the metadata of the rows that it replaces. `run_body` is the run's."""
    written = Decision(append.facts, append.after)
    if append.after.run != append.before.run:
        written = _with_run_metadata(written, decode_metadata(run_body))
    begun = append.before.message
    if begun is not None and append.after.message != begun:
        rows = yield Query(_MESSAGE, (begun.id,), locks=True, single=True)
        if rows:  # or else a client has deleted it
            written = _with_message_metadata(written, begun.id, decode_metadata(rows[0][0]))
    return written


def _with_run_metadata(written: Decision, metadata: dict[str, str]) -> Decision:
    run = written.after.run
    if run.metadata == metadata:
        return written

    def labelled(fact: Fact) -> Fact:
        return replace(fact, run=replace(fact.run, metadata=metadata)) if isinstance(fact, RunFact) else fact

    after = replace(written.after, run=replace(run, metadata=metadata))
    return Decision([labelled(fact) for fact in written.facts], after)


def _with_message_metadata(written: Decision, message_id: str, metadata: dict[str, str]) -> Decision:
    def relabel(message: Message) -> Message:
        return replace(message, metadata=metadata) if message.id == message_id else message

    def labelled(fact: Fact) -> Fact:
        return replace(fact, message=relabel(fact.message)) if isinstance(fact, MessageFact) else fact

    still_open = written.after.message
    after = replace(written.after, message=None if still_open is None else relabel(still_open))
    return Decision([labelled(fact) for fact in written.facts], after)
