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
LINES_LOOKED_AT: Final = 100  # of queued runs, at a time: each project has one, or some
HELD_BACK_LOOK_SECONDS: Final = 0.2  # between looks whether a bound has room again, if nobody tells
PROJECTS_REMEMBERED_MAX: Final = 10_000  # of which a worker knows who was served last
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
CODE_FILES_MAX: Final = 20  # published: of the assistant, and of the thread
CODE_NAME_BYTES_MAX: Final = 200  # of such a file in the sandbox
CODE_TOKENS: Final = 8_000  # of what one call put out that the model is told
CODE_WINDOW_SHARE: Final = 4  # a quarter of the model's window at most
CODE_NAMES_TOLD_MAX: Final = 20  # of the files that one call wrote
CODE_LOGS_LENGTH_MAX: Final = 256 * 1024  # characters that one call puts out: a step is one line of a stream
CODE_LOGS_SECONDS: Final = 0.05  # for which what code prints is collected before readers are shown it
CODE_IMAGES_MAX: Final = 20  # of one call
CODE_MADE_FILES_MAX: Final = 100  # of one call that are kept
CODE_MADE_BYTES_MAX: Final = 256 * 1024 * 1024  # of these together
CODE_SESSIONS_REMEMBERED_MAX: Final = 1_000  # of which it is known what files they were given
INDEXING_WAIT_SECONDS: Final = 60.0  # published: for files of the thread's stores, before a run's first turn
INDEXING_LOOK_SECONDS: Final = 0.1

UPSTREAM_CONNECT_SECONDS: Final = 10.0
UPSTREAM_SILENCE_SECONDS: Final = 120.0  # longest wait for the next byte of a model's stream
UPSTREAM_ATTEMPTS_MAX: Final = 3  # before the first token; a stream that has begun is never begun again
UPSTREAM_RETRY_SECONDS: Final = 0.25  # doubled each time, unless the server says how long
UPSTREAM_RETRY_SECONDS_MAX: Final = 20.0
UPSTREAM_LINE_BYTES_MAX: Final = 1024 * 1024
ALIKE_MISSES_MAX: Final = 8  # times that what one event of an answer has in common with others is learnt for nothing
UPSTREAM_ERROR_BYTES_MAX: Final = 64 * 1024
UPSTREAM_ERROR_WORDS_MAX: Final = 500  # characters of a model server's own words that a client is shown
UPSTREAM_LIST_BYTES_MAX: Final = 8 * 1024 * 1024  # of an answer to GET /models
UPSTREAM_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024  # of vectors, or scores, that were asked for
UPSTREAM_LIST_SECONDS: Final = 10.0  # longest wait for one of several servers' models, so that it does not hide theirs
UPSTREAM_CONNECTIONS_MAX: Final = 4_096  # more than runs have places: requests pass straight through too
UPSTREAM_PIECE_BYTES: Final = 1_024  # much less than what aiohttp holds before it stops reading
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
FACTS_PER_RUN_MAX: Final = 2**20  # far more than its model calls and a week of lost workers make
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

# The code interpreter's sandbox, by session unless it says otherwise.
SANDBOX_CALL_SECONDS: Final = 120.0  # then the code is interrupted, and keeps its variables
SANDBOX_INSIST_SECONDS: Final = 0.5  # between interrupts of code that goes on
SANDBOX_GRACE_SECONDS: Final = 2.0  # after which code that was interrupted and goes on is killed
SANDBOX_START_SECONDS: Final = 30.0
SANDBOX_STOP_SECONDS: Final = 5.0  # from killing a session to its last process being gone
SANDBOX_IDLE_SECONDS: Final = 1_200.0
SANDBOX_LIFE_SECONDS: Final = 3_600.0
SANDBOX_WAIT_SECONDS: Final = 60.0  # for a place, when all sessions work
SANDBOX_SESSIONS_MAX: Final = 8  # of a server; fewer where there is less than a session's memory for each
SANDBOX_WARM_SESSIONS: Final = 1
SANDBOX_WARM_MEMORY_BYTES: Final = 4 * 2**30  # of a machine; with less, none waits ready
SANDBOX_MEMORY_BYTES: Final = 1024 * 1024 * 1024
SANDBOX_ADDRESS_BYTES: Final = 4 * 1024 * 1024 * 1024  # of one process; libraries reserve far more than they use
SANDBOX_PROCESSES_MAX: Final = 64  # threads count too
SANDBOX_OPEN_FILES_MAX: Final = 512
SANDBOX_FILE_BYTES: Final = 256 * 1024 * 1024  # that code may write into one file
SANDBOX_DISK_BYTES: Final = 512 * 1024 * 1024  # of /mnt/data
SANDBOX_DISK_FREE_BYTES: Final = 256 * 1024 * 1024  # that the server's own disk must keep, whoever fills it
SANDBOX_ENTRIES_MAX: Final = 2_000  # of /mnt/data
SANDBOX_TMP_BYTES: Final = 256 * 1024 * 1024
SANDBOX_HOME_BYTES: Final = 64 * 1024 * 1024
SANDBOX_SHM_BYTES: Final = 64 * 1024 * 1024
SANDBOX_WATCH_SECONDS: Final = 0.1
SANDBOX_CODE_BYTES_MAX: Final = 1024 * 1024  # of one call
SANDBOX_TEXT_BYTES_MAX: Final = 1024 * 1024  # of one call's output that is kept
SANDBOX_FLOOD_BYTES_MAX: Final = 64 * 1024 * 1024  # of one call's output, after which it is killed
SANDBOX_IMAGES_MAX: Final = 20  # of one call
SANDBOX_IMAGE_BYTES_MAX: Final = 8 * 1024 * 1024
SANDBOX_EVENTS_MAX: Final = 2_000  # of one call, on the runner's own channel
SANDBOX_HARVEST_FILES_MAX: Final = 200  # of one call
SANDBOX_HARVEST_BYTES_MAX: Final = 100 * 1024 * 1024  # of one file
SANDBOX_DEPTH_MAX: Final = 8  # of folders in /mnt/data whose files are harvested
SANDBOX_NESTING_MAX: Final = 32  # of folders in /mnt/data
SANDBOX_NAME_LENGTH_MAX: Final = 255
SANDBOX_READ_BYTES: Final = 64 * 1024
SANDBOX_HOLDS_MAX: Final = 256  # requests for sessions that a daemon holds, or lets wait, at once
SANDBOX_CONNECTIONS_MAX: Final = 1_024  # of a daemon
SANDBOX_REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024  # to a daemon: the longest code, with every byte escaped
SANDBOX_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024  # from a daemon, in one piece
SANDBOX_CALL_BYTES_MAX: Final = 512 * 1024 * 1024  # of one call's lines from a daemon
SANDBOX_PING_SECONDS: Final = 10.0  # between a daemon's lines
SANDBOX_SILENCE_SECONDS: Final = 30.0  # after which a daemon, or who holds a session of it, counts as gone
SANDBOX_CONNECT_SECONDS: Final = 3.0
SANDBOX_DOWN_SECONDS: Final = 5.0  # for which a daemon that did not answer is asked last
SANDBOX_KEYS_MAX: Final = 10_000  # whose daemon is remembered

POSTGRES_CONNECTIONS_MAX: Final = 8  # of one process; the server's own default allows 100 of all
POSTGRES_SECONDS_MAX: Final = 30.0  # longest wait for a connection, and for an answer
POSTGRES_IDLE_SECONDS: Final = 300.0  # after which a connection that nobody needs is closed, when another one is used
POSTGRES_STATEMENTS_CACHED: Final = 256  # prepared ones of a connection
POSTGRES_GROUPS_MAX: Final = 1  # of writes that are being done at the same time
POSTGRES_LOCK_SECONDS: Final = 0.1  # for which a group of writes waits for a row
POSTGRES_STILL_SECONDS: Final = 10.0  # of a transaction between two statements; less than a lease
POSTGRES_ATTEMPTS_MAX: Final = 5  # of an operation that loses deadlocks
MIGRATION_SECONDS_MAX: Final = 3_600.0  # longest wait for another program's step, and for a step itself
COPY_BATCH_ROWS: Final = 5_000  # of a table that `understudy db copy` writes in one transaction
COPY_BATCH_BYTES: Final = 8 * 1024 * 1024  # of these, and one row more
COPY_FETCH_ROWS: Final = 64  # that PostgreSQL hands over at a time
COPY_SECONDS_MAX: Final = 3_600.0  # longest wait for one answer of PostgreSQL
COPY_FILES_AT_ONCE: Final = 8
MIGRATION_LOCK_MS: Final = 500  # for which a step waits for a table, and those who want the table wait behind it
INDEX_SECONDS_MAX: Final = 86_400.0  # longest wait for an index of a large table, and for whoever is building one
CLOCK_LOOK_SECONDS: Final = 10.0  # how often a process compares its clock with the database's: more often than a lease
CLOCK_APART_SECONDS: Final = 0.05  # which both may differ by

# Between processes: see docs/scale-out.md.
LINK_BATCH_SECONDS: Final = 0.01  # for which a run's frames are collected before they leave
LINK_BYTES_MAX: Final = 8 * 1024 * 1024  # of one message; more of a run is read from its log
LINK_CONNECT_SECONDS: Final = 10.0
LINK_RETRY_SECONDS: Final = 0.5
WANT_WAIT_SECONDS: Final = 0.02  # in which a run that is read here turns out to be worked on here
WANT_SECONDS: Final = 5.0  # how often a process says which runs of others it follows
WANT_KEEP_SECONDS: Final = 15.0  # how long it is believed
CHUNKING_PIECE_CHARACTERS: Final = 262_144  # of a text that are tokenised at a time
WORD_LENGTH_MAX: Final = 64  # characters of a word that search by words looks at
STEMS_CACHED_MAX: Final = 65_536  # words of which the stem is remembered; some 10 MB
STATIC_BATCH_CHARACTERS: Final = 1_000_000  # of texts that the built-in embedding tokenises at once

INGEST_PLACES: Final = 2  # files that a process indexes at the same time
INGEST_RETRY_SECONDS: Final = 15.0  # doubled each time
EMBED_ATTEMPTS_MAX: Final = 4  # for one batch of chunks, before its file is put off
EMBED_RETRY_SECONDS: Final = 1.0  # doubled each time

DOCUMENT_MEMORY_BYTES: Final = 3 * 2**29  # address space of the process that parses a file: 1.5 GB
DOCUMENT_CPU_SECONDS: Final = 60
DOCUMENT_SECONDS: Final = 120.0  # that the server waits for a file's text, apart from what it does with it
DOCUMENT_TEXT_BYTES_MAX: Final = 64 * 1024 * 1024  # of text in one file
DOCUMENT_UNZIPPED_BYTES_MAX: Final = 300 * 1024 * 1024  # of all parts of a zipped document together
DOCUMENT_UNZIPPED_RATIO_MAX: Final = 200  # bytes that a byte of a zipped document may become
DOCUMENT_PARTS_MAX: Final = 20_000  # of a zipped document
DOCUMENT_DEPTH_MAX: Final = 1_000  # of nested elements
SHEET_GAP_MAX: Final = 32  # empty cells, or blanks, in a row that keep their place
DOCUMENT_OPEN_FILES_MAX: Final = 64
DOCUMENT_IDLE_SECONDS: Final = 60.0  # after which a process that has no file to parse is ended
REFUSAL_LENGTH_MAX: Final = 500  # characters of a sentence that says why a file was refused
TOKEN_BYTES_MAX: Final = 128  # the longest token's
ORDER_BYTES_MAX: Final = 64 * 1024
CHUNK_BATCH_MAX: Final = 64  # chunks that are handed on together
CHUNK_BATCH_BYTES: Final = 1024 * 1024
CHUNK_FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
DOCUMENT_HEAD_BYTES: Final = 8_192  # looked at for what kind of file it is
DOCUMENT_PIECE_CHARACTERS: Final = 262_144
ENCODING_SAMPLE_BYTES: Final = 65_536  # looked at for the encoding of a text

BLOB_PIECE_BYTES: Final = 1024 * 1024  # of content in memory at a time, for each file on its way in or out
BLOB_EXPECT_SECONDS: Final = 3_600  # from the last byte of a file to its row; what takes longer is swept as lost
STAGING_KEEP_SECONDS: Final = 2 * 86_400  # after which what a killed process left on its way to a bucket is removed
BUCKET_CONNECT_SECONDS: Final = 5.0
BUCKET_SILENCE_SECONDS: Final = 15.0  # longest wait for the next byte of a bucket's answer
BUCKET_ANSWER_SECONDS: Final = 3_600.0  # of one answer to its last byte: who reads it may be slow
BUCKET_RETRIES_MAX: Final = 2  # of one request; then it is refused, and may come again
BUCKET_RETRY_SECONDS_MAX: Final = 1.0  # longest pause before one of these
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

QUERY_TERMS_MAX: Final = 256  # different words of a query that are searched
FILTER_PARTS_MAX: Final = 2_000  # comparisons of an attribute filter, and values in their lists
SEGMENT_GROWTH: Final = 4  # an index joins segments so that each has at least this many times the rows of the next
SEARCH_DEPTH: Final = 50  # passages of each ranking that are fused: as many as may be asked for
FUSION_K: Final = 10  # what the rank is added to before it is divided by: how much the first places count
QUERIES_MAX: Final = 32  # of one search
SEARCHES_AT_ONCE: Final = 4  # in threads, each on one or more cores; further ones wait
SEARCH_CACHE_BYTES: Final = 512 * 1024 * 1024  # of indexes in memory; the one in use is kept whatever its size
PGVECTOR_DIMENSIONS_MAX: Final = 16_000  # its own bound; longer vectors are compared in memory
PGVECTOR_EXACT_CHUNKS: Final = 200_000  # that are all compared with a query; more may be looked up in an index
HNSW_DIMENSIONS_MAX: Final = 4_000  # pgvector's own bound
HNSW_SHARE: Final = 4  # an index is used for no less than a fourth of what is in it
HNSW_LINKS: Final = 32  # of a chunk, to others that are near it
HNSW_LOOKED_AT_MAKING: Final = 128  # chunks that are kept in view while links are chosen
HNSW_LOOKED_AT: Final = 1_000  # the same while the nearest are looked for: as many as pgvector allows
HNSW_RECALL_MIN: Final = 0.995  # of the ten nearest, or the index is not used: queries find up to 0.5 % less
HNSW_PROOFS: Final = 64  # vectors that an index is tried with
HNSW_BUILD_MEMORY: Final = "512MB"  # of PostgreSQL, while it makes an index
HNSW_BUILD_PAUSE_SECONDS: Final = 60.0  # between two attempts of a process
SEGMENT_LOAD_ROWS: Final = 20_000  # chunks that are read before they become part of an index
EMBEDDING_REQUEST_TEXTS: Final = 64
EMBEDDING_REQUEST_CHARACTERS_MAX: Final = 400_000
EMBEDDING_REQUESTS_MAX: Final = 4  # at the same time, of this process
EMBEDDING_DIMENSIONS_MAX: Final = 16_384
EMBED_INLINE_CHARACTERS_MAX: Final = 4_000  # what the built-in embedding does in less time than a change of thread
RERANK_PASSAGES: Final = 50
REINDEX_CHUNKS: Final = 256  # that are embedded and written together
REINDEX_SWITCHES_MAX: Final = 100  # how often a store that is being filled is caught up with
MINILM_WINDOW_TOKENS: Final = 254
MINILM_BATCH_WINDOWS: Final = 16
