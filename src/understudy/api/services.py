"""What the routes work with, made once in `app.py`."""

from collections.abc import Callable

from msgspec import Struct

from understudy.core.chat.context import message_tokens
from understudy.core.objects import new_message
from understudy.engine.files import Files
from understudy.engine.runs import Runs
from understudy.engine.tools import Tools
from understudy.engine.uploads import Uploads
from understudy.ports import Attached, Bus, Clock, Embedders, Models, NewId, Search, Store, StoredMessage, Tokens
from understudy.wire.files import StoredPurpose
from understudy.wire.messages import CreateMessage


class Services(Struct, frozen=True, kw_only=True):
    store: Store
    bus: Bus
    runs: Runs
    models: Models
    tokens: Tokens
    tools: Tools
    clock: Clock
    new_id: NewId
    run_lifetime_seconds: int
    body_bytes_max: int
    lenient: bool
    queue_when_busy: bool
    files: Files
    uploads: Uploads
    file_bytes_max: int
    upload_bytes_max: int
    download_refused: frozenset[StoredPurpose]
    search: Search
    embedders: Embedders
    wake_indexer: Callable[[], None]
    listed_files_only: bool

    def now(self) -> int:
        return int(self.clock())

    def files_attached(self, attached: Attached | None) -> None:
        """They were written; the indexer need not look for them by itself."""
        if attached is not None and attached.search is not None and attached.search.files:
            self.wake_indexer()

    def message(self, body: CreateMessage, thread_id: str) -> StoredMessage:
        """A message as it will be stored, with what its content costs in tokens."""
        message = new_message(body, message_id=self.new_id("message"), thread_id=thread_id, at=self.now())
        return StoredMessage(message=message, tokens=message_tokens(message, self.tokens.count))
