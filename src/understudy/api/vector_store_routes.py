"""The routes of vector stores, their files, batches and search: a part of the table in `api/routes.py`."""

from collections.abc import Sequence

from understudy.api.file_batches import FileBatches
from understudy.api.operation import Operation
from understudy.api.operation import made_operation as _op
from understudy.api.services import Services
from understudy.api.vector_store_files import VectorStoreFiles
from understudy.api.vector_stores import VectorStores
from understudy.wire.base import Deleted
from understudy.wire.lists import ListQuery
from understudy.wire.vector_stores import (
    CreateFileBatch,
    CreateStoreFile,
    CreateVectorStore,
    FileContentPage,
    ListStoreFilesQuery,
    SearchPage,
    SearchVectorStore,
    UpdateStoreFile,
    UpdateVectorStore,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

_STORES = "/vector_stores"
_STORE = f"{_STORES}/{{vector_store_id}}"


def vector_store_operations(services: Services) -> Sequence[Operation]:
    return [
        *_files(VectorStoreFiles(services)),
        *_batches(FileBatches(services)),
        *_stores(VectorStores(services)),
    ]


def _stores(stores: VectorStores) -> Sequence[Operation]:
    return [
        _op(
            "POST",
            f"{_STORE}/search",
            "searchVectorStore",
            "Search a vector store.",
            stores.search,
            body=SearchVectorStore,
            answer=SearchPage,
        ),
        _op("GET", _STORE, "getVectorStore", "Retrieve a vector store.", stores.retrieve, answer=VectorStore),
        _op(
            "POST",
            _STORE,
            "modifyVectorStore",
            "Change a vector store.",
            stores.update,
            body=UpdateVectorStore,
            answer=VectorStore,
        ),
        _op(
            "DELETE",
            _STORE,
            "deleteVectorStore",
            "Delete a vector store; its files stay.",
            stores.delete,
            answer=Deleted,
        ),
        _op(
            "POST",
            _STORES,
            "createVectorStore",
            "Create a vector store.",
            stores.create,
            body=CreateVectorStore,
            answer=VectorStore,
        ),
        _op("GET", _STORES, "listVectorStores", "List vector stores.", stores.list, query=ListQuery, item=VectorStore),
    ]


def _files(files: VectorStoreFiles) -> Sequence[Operation]:
    file = f"{_STORE}/files/{{file_id}}"
    return [
        _op(
            "GET",
            file,
            "getVectorStoreFile",
            "Retrieve a vector store's file.",
            files.retrieve,
            answer=VectorStoreFile,
        ),
        _op(
            "POST",
            file,
            "updateVectorStoreFileAttributes",
            "Change the attributes of a vector store's file.",
            files.update,
            body=UpdateStoreFile,
            answer=VectorStoreFile,
        ),
        _op(
            "DELETE",
            file,
            "deleteVectorStoreFile",
            "Take a file out of a vector store; the file stays.",
            files.delete,
            answer=Deleted,
        ),
        _op(
            "GET",
            f"{file}/content",
            "retrieveVectorStoreFileContent",
            "Retrieve the text that was read from a vector store's file.",
            files.content,
            answer=FileContentPage,
        ),
        _op(
            "POST",
            f"{_STORE}/files",
            "createVectorStoreFile",
            "Put a file into a vector store.",
            files.create,
            body=CreateStoreFile,
            answer=VectorStoreFile,
        ),
        _op(
            "GET",
            f"{_STORE}/files",
            "listVectorStoreFiles",
            "List a vector store's files.",
            files.list,
            query=ListStoreFilesQuery,
            item=VectorStoreFile,
        ),
    ]


def _batches(batches: FileBatches) -> Sequence[Operation]:
    batch = f"{_STORE}/file_batches/{{batch_id}}"
    return [
        _op(
            "GET",
            batch,
            "getVectorStoreFileBatch",
            "Retrieve a batch of files.",
            batches.retrieve,
            answer=VectorStoreFileBatch,
        ),
        _op(
            "POST",
            f"{batch}/cancel",
            "cancelVectorStoreFileBatch",
            "Cancel what of a batch is not indexed yet.",
            batches.cancel,
            answer=VectorStoreFileBatch,
        ),
        _op(
            "GET",
            f"{batch}/files",
            "listFilesInVectorStoreBatch",
            "List a batch's files.",
            batches.list_files,
            query=ListStoreFilesQuery,
            item=VectorStoreFile,
        ),
        _op(
            "POST",
            f"{_STORE}/file_batches",
            "createVectorStoreFileBatch",
            "Put files into a vector store together.",
            batches.create,
            body=CreateFileBatch,
            answer=VectorStoreFileBatch,
        ),
    ]
