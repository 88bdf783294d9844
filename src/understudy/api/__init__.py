"""The edge that clients see: HTTP and SSE in, answers out. One module a resource; no decision is made here."""
