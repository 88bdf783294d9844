"""Schema version 3: vector stores, their files, the batches in which files came, and the chunks that are searched.

A file's chunks are known by a `generation`, a number that no two attachments of any file share. What is no longer
searched is named in `let_go`, and deleted later and in small pieces.
"""

from collections.abc import Sequence

from understudy.store.dialect import Dialect


def vector_stores(d: Dialect) -> Sequence[str]:
    tables = {
        # The spaces that vectors are in.
        "embeddings": f"space {d.sequence}, model TEXT NOT NULL, dimensions {d.integer} NOT NULL",
        # `body` has neither counts nor usage nor status: they are of the files. `version` grows with each change of
        # what is searched.
        "vector_stores": f"""seq {d.sequence}, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, space {d.integer},
            version {d.integer} NOT NULL, expires_at {d.integer}, expired {d.integer} NOT NULL,
            body {d.bytes} NOT NULL""",
        # The row is also the job of indexing the file: `generation` is to be indexed, in the space `lease_space`, and
        # `searched` is what answers meanwhile.
        "store_files": f"""seq {d.sequence}, store_id TEXT NOT NULL, file_id TEXT NOT NULL, file_name TEXT NOT NULL,
            status TEXT NOT NULL, generation {d.integer} NOT NULL, searched {d.integer}, lease_owner TEXT,
            lease_until {d.real}, lease_space {d.integer}, attempts {d.integer} NOT NULL,
            usage_bytes {d.integer} NOT NULL, attributes {d.bytes} NOT NULL, body {d.bytes} NOT NULL""",
        "file_batches": f"""id TEXT PRIMARY KEY, store_id TEXT NOT NULL, cancelled {d.integer} NOT NULL,
            body {d.bytes} NOT NULL""",
        # `generation` is the one that the batch asked for: it may cancel no later one.
        "batch_files": f"""batch_id TEXT NOT NULL, file_seq {d.integer} NOT NULL, generation {d.integer} NOT NULL,
            PRIMARY KEY (batch_id, file_seq)""",
        # What is read to search, what is read of the few that are found, and what is made anew by another embedding.
        "chunks": f"""generation {d.integer} NOT NULL, number {d.integer} NOT NULL, tokens {d.integer} NOT NULL,
            terms {d.bytes} NOT NULL, PRIMARY KEY (generation, number)""",
        "chunk_texts": f"""generation {d.integer} NOT NULL, number {d.integer} NOT NULL, page {d.integer},
            text TEXT NOT NULL, PRIMARY KEY (generation, number)""",
        "chunk_vectors": f"""generation {d.integer} NOT NULL, number {d.integer} NOT NULL, space {d.integer} NOT NULL,
            vector {d.bytes} NOT NULL, PRIMARY KEY (generation, number, space)""",
        # A generation's chunks, or only their vectors of one space.
        "let_go": f"seq {d.sequence}, generation {d.integer} NOT NULL, space {d.integer}",
        # Stores that were deleted, or that expired, whose files are still there: all up to the one numbered `file_seq`
        # have been seen to.
        "let_go_stores": f"seq {d.sequence}, store_id TEXT NOT NULL UNIQUE, file_seq {d.integer} NOT NULL",
    }
    indexes = (
        "UNIQUE INDEX embeddings_once ON embeddings (model, dimensions)",
        "INDEX vector_stores_by_project ON vector_stores (project, seq)",
        "INDEX vector_stores_expiring ON vector_stores (expires_at, seq) WHERE expired = 0",
        "UNIQUE INDEX store_files_once ON store_files (store_id, file_id)",
        "UNIQUE INDEX store_files_by_generation ON store_files (generation)",
        "INDEX store_files_by_store ON store_files (store_id, seq)",
        # Lists of one status; and counts, which need nothing but the index.
        "INDEX store_files_by_status ON store_files (store_id, status, seq, usage_bytes)",
        "UNIQUE INDEX store_files_searched ON store_files (store_id, searched) WHERE searched IS NOT NULL",
        "INDEX store_files_by_file ON store_files (file_id, seq)",
        "INDEX store_files_claimable ON store_files (generation) WHERE status = 'in_progress'",
        "INDEX file_batches_by_store ON file_batches (store_id)",
        "INDEX batch_files_by_file ON batch_files (file_seq)",
    )
    return [
        *(f"CREATE TABLE {name} ({columns}) {d.table_options}" for name, columns in tables.items()),
        *(f"CREATE {index}" for index in indexes),
    ]
