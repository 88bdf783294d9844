"""Every number of the API and of the server's own bounds that is not a field's limit (those stand in `wire/`).

Units are last in the name. Where a setting overrides a number, this is its default.
"""

from typing import Final

RUN_LIFETIME_SECONDS: Final = 600  # contract 0.14: never extended by tool outputs
MESSAGES_PER_THREAD_MAX: Final = 100_000
POLL_AFTER_MS: Final = 250  # what `openai-poll-after-ms` says on pollable answers

HEAD_BYTES_MAX: Final = 64 * 1024  # request line and headers
HEAD_SECONDS: Final = 30.0  # from the first byte of a request, or a new connection, to the end of its headers
BODY_BRACKETS_MAX: Final = 1_000_000
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
BODY_DEPTH_MAX: Final = 64
ECHO_LENGTH_MAX: Final = 512  # characters of a request that a refusal repeats
PING_SECONDS: Final = 15.0
LOG_LOOK_SECONDS: Final = 1.0  # after this silence a stream looks whether its run goes on in another process

LEASE_SECONDS: Final = 15.0
LEASE_RENEW_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 1.0
RUNS_PER_WORKER_MAX: Final = 2_000  # a run that waits for its model costs some 50 KB and no time
TURNS_PER_RUN_MAX: Final = 100
CONFLICT_RETRIES_MAX: Final = 10
WAITING_RUNS_PER_THREAD_MAX: Final = 100  # with `busy_thread = "queue"`; one more is refused as without it

CONTEXT_WINDOW_TOKENS: Final = 128_000
CONTEXT_PAGE_MESSAGES: Final = 100
CONTEXT_HEAD_MESSAGES: Final = 4  # of the oldest messages, looked at for the first one by the user
COMPLETION_RESERVE_TOKENS: Final = 1_024  # kept free of the window for the answer when nothing says how long it may be

MESSAGE_OVERHEAD_TOKENS: Final = 4  # role and separators, as chat templates write them around each message
IMAGE_LOW_TOKENS: Final = 85  # what the vendor's guide charges for a low-detail image
IMAGE_AUTO_TOKENS: Final = 765  # of 1024 x 1024 pixels: nothing reads an image's size before it is sent
IMAGE_HIGH_TOKENS: Final = 1_105  # of 2048 x 4096 pixels
TOKENS_EXACT_CHARACTERS_MAX: Final = 500_000  # a longer text is counted as far as this, and its tokens extrapolated
CORRECTION_MIN: Final = 0.7
CORRECTION_MAX: Final = 1.5
CORRECTED_MODELS_MAX: Final = 1_000

MARKER_LABEL_LENGTH_MAX: Final = 120  # characters of a citation's label, and so of a text that is held back for one
CODE_HEAD_LENGTH_MAX: Final = 200  # characters of a call's arguments behind which the form of its code is known
QUOTE_LENGTH_MAX: Final = 500  # characters of a passage that an annotation repeats, with `citation_details`
FILE_SEARCH_RESULTS: Final = 20  # published: passages that a call finds unless the tool says how many
FILE_SEARCH_RESULTS_SMALL: Final = 5  # the same for the gpt-3.5 family
FILE_SEARCH_TOKENS: Final = 16_000  # published: of all passages that the model is shown in one turn
FILE_SEARCH_TOKENS_SMALL: Final = 4_000  # the same for the gpt-3.5 family
FILE_SEARCH_WINDOW_SHARE: Final = 4  # a quarter of the model's window at most
FILE_SEARCH_QUERIES_MAX: Final = 8  # in one call
FILE_SEARCH_QUERY_LENGTH_MAX: Final = 4_000  # characters
FILE_SEARCH_PASSAGE_TOKENS_MIN: Final = 50  # a passage that would be cut shorter than this is left out
INDEXING_WAIT_SECONDS: Final = 60.0  # published: for files of the thread's stores, before a run's first turn
INDEXING_LOOK_SECONDS: Final = 0.1

UPSTREAM_CONNECT_SECONDS: Final = 10.0
UPSTREAM_SILENCE_SECONDS: Final = 120.0  # longest wait for the next byte of a model's stream
UPSTREAM_ATTEMPTS_MAX: Final = 3  # before the first token; a stream that has begun is never begun again
UPSTREAM_RETRY_SECONDS: Final = 0.25  # doubled each time, unless the server says how long
UPSTREAM_RETRY_SECONDS_MAX: Final = 20.0
UPSTREAM_LINE_BYTES_MAX: Final = 1024 * 1024
UPSTREAM_ERROR_BYTES_MAX: Final = 64 * 1024
UPSTREAM_ERROR_WORDS_MAX: Final = 500  # characters of a model server's own words that a client is shown
UPSTREAM_LIST_BYTES_MAX: Final = 8 * 1024 * 1024  # of an answer to GET /models
UPSTREAM_LIST_SECONDS: Final = 10.0  # longest wait for one of several servers' models, so that it does not hide theirs
UPSTREAM_CONNECTIONS_MAX: Final = 4_096  # more than runs have places: requests pass straight through too
UPSTREAM_KEEPALIVE_SECONDS: Final = 4.0  # uvicorn and Node close idle connections after 5: be the first to let go
UPSTREAM_DRAIN_SECONDS: Final = 0.1  # longest wait for the end of a body after `[DONE]`, to keep its connection
UPSTREAM_LOOK_SECONDS: Final = 1.0  # how often a waiting reader's connection is looked at
UPSTREAM_MODELS_CACHE_SECONDS: Final = 30.0
COMPLETION_BYTES_MAX: Final = 8 * 1024 * 1024  # of one model turn, text and arguments together
CALLS_PER_TURN_MAX: Final = 128

# The stand-in model. Three slots of 3072 tokens and a quarter more cost about 420 MB; see docs/local-model.md.
LOCAL_CONTEXT_WINDOW_TOKENS: Final = 3_072
LOCAL_SLOTS: Final = 3  # answers that are written at the same time; further ones wait
LOCAL_THREADS_MAX: Final = 4  # more of them gain little with a small model, and cost a lot under a CPU quota
LOCAL_START_SECONDS: Final = 120.0
LOCAL_STOP_SECONDS: Final = 1.0  # between closing its input and killing it
WEIGHTS_FETCH_SECONDS: Final = 1_800.0
WEIGHTS_STAGING_SECONDS: Final = 7_200.0  # after which what a killed fetch left is removed

BUS_BYTES_MAX: Final = 256 * 1024 * 1024  # of all runs without readers together
BUS_RUN_BYTES_MAX: Final = 32 * 1024 * 1024
FACTS_PAGE: Final = 500
FACTS_KEEP_SECONDS: Final = 86_400  # how long the stream of a run that has ended can be read again
FACTS_PRUNED_MAX: Final = 500  # in one transaction: it waits for as long as it takes who writes beside it
PRUNE_SECONDS: Final = 60.0
BUS_KEEP_SECONDS: Final = 60.0  # how long a run's frames stay in memory after its newest fact, for late readers

FILES_PER_STORE_MAX: Final = 100_000
INGEST_ATTEMPTS_MAX: Final = 3  # of indexing a file whose worker was lost each time
THREAD_STORE_DAYS: Final = 7  # how long a store is kept unused that was made along with a thread
CHUNK_TOKENS: Final = 800  # what `auto` means
CHUNK_OVERLAP_TOKENS: Final = 400
CHUNKS_PRUNED_MAX: Final = 500  # in one transaction, as for facts
STORE_FILES_PRUNED_MAX: Final = 500

WRITE_GROUP_MAX: Final = 256
WRITE_QUEUE_MAX: Final = 10_000
MODEL_NAMES_CACHED_MAX: Final = 1_000  # clients name models freely

BLOB_PIECE_BYTES: Final = 1024 * 1024  # of content in memory at a time, for each file on its way in or out
BLOB_EXPECT_SECONDS: Final = 3_600  # from the last byte of a file to its row; what takes longer is swept as lost
BLOBS_SWEPT_MAX: Final = 100  # at a time
FILE_BYTES_MAX: Final = 512 * 1024 * 1024
UPLOAD_BYTES_MAX: Final = 8 * 1024 * 1024 * 1024
UPLOAD_SECONDS: Final = 3_600  # contract 6.2
UPLOAD_KEEP_SECONDS: Final = 86_400  # how long an upload that has ended is remembered
PART_BYTES_MAX: Final = 64 * 1024 * 1024
PARTS_PER_UPLOAD_MAX: Final = 10_000
IMAGE_BYTES_MAX: Final = 20 * 1024 * 1024  # of an image that is shown to a model
IMAGES_BYTES_MAX: Final = 50 * 1024 * 1024  # of those of one prompt together; the newest are shown
FORM_FIELDS_MAX: Final = 20
FORM_TEXT_BYTES_MAX: Final = 16 * 1024  # of all fields of a form apart from its file
FORM_OVERHEAD_BYTES_MAX: Final = 64 * 1024  # what a form may be longer than its file
BODY_SILENCE_SECONDS: Final = 60.0  # longest wait for the next byte of a file
