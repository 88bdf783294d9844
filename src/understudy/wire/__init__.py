"""The API's objects and requests as structs: what a field is called, its type, its limits. Nothing else lives here.

One module a resource. A request's struct is the only statement of its limits: `api/decode/` reads the same
annotations to explain a refusal in the vendor's words, and `/openapi.json` is printed from them.
"""
