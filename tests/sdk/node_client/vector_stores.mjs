// Vector stores, their files, batches and search, under whichever names the client has for them.

import assert from "node:assert/strict";

import { DELETE, all, below, client, messages, newAssistant, newThread, openai, refused, same, threads } from "./common.mjs";

const { toFile } = openai;
const WEEK = { anchor: "last_active_at", days: 7 };
const SMALL = { type: "static", static: { max_chunk_size_tokens: 100, chunk_overlap_tokens: 20 } };
const FINISHED = { in_progress: 0, completed: 1, failed: 0, cancelled: 0, total: 1 };

// They were in `beta` first; some clients know both places.
const namespaces = [client.vectorStores, client.beta.vectorStores].filter(Boolean);

const textFile = (name, text) => toFile(Buffer.from(text), name);
const uploaded = async (name, text) =>
  (await client.files.create({ file: await textFile(name, text), purpose: "assistants" })).id;
const inStore = (store) => ({ vector_store_id: store.id });

export async function vector_stores_are_created_read_changed_and_deleted() {
  for (const stores of namespaces) {
    const bare = await stores.create({});
    same([bare.name, bare.status, bare.usage_bytes, bare.metadata], ["", "completed", 0, {}]);
    const made = await stores.create({ name: "Notes", expires_after: WEEK, metadata: { a: "1" } });
    same(made.expires_at, made.last_active_at + 7 * 86_400);
    same(await stores.retrieve(made.id), made);
    const changed = await stores.update(made.id, { name: "Renamed", expires_after: null, metadata: { b: "2" } });
    same([changed.name, changed.expires_after, changed.expires_at], ["Renamed", null, null]);
    same(changed.metadata, { b: "2" });
    const ids = (await all(stores.list({ limit: 1 }))).map((one) => one.id);
    same(ids.filter((id) => id === bare.id || id === made.id), [made.id, bare.id]);
    same(await stores[DELETE](made.id), { id: made.id, object: "vector_store.deleted", deleted: true });
    const gone = `No vector store found with id '${made.id}'.`;
    await refused(openai.NotFoundError, stores.retrieve(made.id), gone);
  }
}

export async function files_of_a_vector_store_are_polled_until_they_are_indexed() {
  for (const stores of namespaces) {
    const store = await stores.create({ name: "Zoo" });
    const fileId = await uploaded("zebra.md", "The zebra is striped.");
    const file = await stores.files.createAndPoll(store.id, {
      file_id: fileId,
      attributes: { legs: 4 },
      chunking_strategy: SMALL,
    });
    same([file.id, file.status, file.last_error], [fileId, "completed", null]);
    same([file.attributes, file.chunking_strategy], [{ legs: 4 }, SMALL]);
    assert.ok(file.usage_bytes > 0);
    const other = await stores.files.uploadAndPoll(store.id, await textFile("bee.txt", "The bee hums."));
    same(other.status, "completed");
    const listed = await all(stores.files.list(store.id, { filter: "completed", order: "asc" }));
    same(listed.map((one) => one.id), [fileId, other.id]);
    const content = await all(below(stores.files, "content", inStore(store), fileId));
    same(content.map((part) => part.text), ["The zebra is striped."]);
    const attributes = { legs: 5, wild: true };
    same((await below(stores.files, "update", inStore(store), fileId, { attributes })).attributes, attributes);
    same((await stores.retrieve(store.id)).file_counts.completed, 2);
    same((await below(stores.files, DELETE, inStore(store), fileId)).deleted, true);
    const gone = `No file found with id '${fileId}' in vector store '${store.id}'.`;
    await refused(openai.NotFoundError, below(stores.files, "retrieve", inStore(store), fileId), gone);
  }
}

export async function a_file_that_cannot_be_indexed_is_polled_until_it_says_why() {
  for (const stores of namespaces) {
    const store = await stores.create({});
    const file = await stores.files.uploadAndPoll(store.id, await textFile("empty.txt", " "));
    same(file.status, "failed");
    same(file.last_error.message, "The file could not be parsed because it is empty.");
  }
}

export async function file_batches_are_polled_to_their_end() {
  for (const stores of namespaces) {
    const store = await stores.create({});
    const fileId = await uploaded("ant.txt", "The ant is small.");
    let batch = await stores.fileBatches.createAndPoll(store.id, { file_ids: [fileId] });
    same([batch.status, batch.file_counts], ["completed", FINISHED]);
    const files = await Promise.all([0, 1, 2].map((number) => textFile(`${number}.md`, `Number ${number}.`)));
    batch = await stores.fileBatches.uploadAndPoll(store.id, { files, fileIds: [fileId] });
    same([batch.status, batch.file_counts.completed], ["completed", 4]);
    const listed = await all(below(stores.fileBatches, "listFiles", inStore(store), batch.id, { limit: 2 }));
    same([listed.length, listed.some((one) => one.id === fileId)], [4, true]);
    same(await below(stores.fileBatches, "cancel", inStore(store), batch.id), batch);
  }
}

export async function vector_stores_are_searched() {
  for (const stores of namespaces) {
    const store = await stores.create({});
    for (const [name, legs] of [["zebra", 4], ["ostrich", 2]]) {
      const file_id = await uploaded(`${name}.txt`, `The ${name} lives in the zoo.`);
      await stores.files.createAndPoll(store.id, { file_id, attributes: { legs } });
    }
    const found = async (body) => all(stores.search(store.id, body));
    const query = "Where does the zebra live?";
    const [best, ...rest] = await found({ query, rewrite_query: true, max_num_results: 1 });
    same([best.filename, best.content[0].text, rest], ["zebra.txt", "The zebra lives in the zoo.", []]);
    assert.ok(best.score > 0 && best.score <= 1);
    const filters = { type: "and", filters: [{ type: "lt", key: "legs", value: 3 }] };
    const few = await found({ query: ["zoo"], filters, ranking_options: { score_threshold: 0 } });
    same(few.map((one) => [one.filename, one.attributes]), [["ostrich.txt", { legs: 2 }]]);
  }
}

export async function attached_files_fill_the_vector_store_of_their_thread() {
  const [first, second] = [await uploaded("a.txt", "One."), await uploaded("b.txt", "Two.")];
  const tools = [{ type: "file_search" }];
  const saying = (content, file_id) => ({ role: "user", content, attachments: [{ file_id, tools }] });
  const thread = await threads.create({ messages: [saying("Read.", first)] });
  const storeId = thread.tool_resources.file_search.vector_store_ids[0];
  const message = await messages.create(thread.id, saying("This too.", second));
  same(message.attachments, [{ file_id: second, tools }]);
  for (const stores of namespaces) {
    const store = await stores.retrieve(storeId);
    same([store.expires_after, store.file_counts.total], [WEEK, 2]);
    same((await all(stores.files.list(storeId, { order: "asc" }))).map((one) => one.id), [first, second]);
  }
}

export async function vector_stores_are_made_along_with_what_searches_them() {
  const fileId = await uploaded("c.txt", "Three.");
  const tool_resources = { file_search: { vector_stores: [{ file_ids: [fileId], metadata: { a: "b" } }] } };
  const assistant = await newAssistant({ tools: [{ type: "file_search" }], tool_resources });
  const thread = await threads.create({ tool_resources });
  for (const made of [assistant, thread]) {
    const store = await namespaces[0].retrieve(made.tool_resources.file_search.vector_store_ids[0]);
    same([store.metadata, store.file_counts.total], [{ a: "b" }, 1]);
  }
  const { vector_store_ids } = assistant.tool_resources.file_search;
  const moved = await threads.update((await newThread("Hello")).id, { tool_resources: { file_search: { vector_store_ids } } });
  same(moved.tool_resources, { file_search: { vector_store_ids } });
}
