// Files and uploads.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";

import {
  DELETE,
  all,
  assistants,
  client,
  modelRequests,
  newAssistant,
  openai,
  refused,
  runs,
  same,
  threads,
} from "./common.mjs";

const { toFile } = openai;
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

const create = async (content, name, purpose, more = {}) =>
  client.files.create({ file: await toFile(content, name), purpose, ...more });
const contentOf = async (id) => Buffer.from(await (await client.files.content(id)).arrayBuffer());

export async function files_are_created_listed_read_and_deleted() {
  const content = Buffer.from("One line\r\n\0 and bytes \xff", "latin1");
  const made = await create(content, "notes é.txt", "assistants");
  assert.match(made.id, /^file-/);
  same([made.object, made.bytes, made.filename], ["file", content.length, "notes é.txt"]);
  same([made.purpose, made.status], ["assistants", "processed"]);
  same(await client.files.retrieve(made.id), made);
  same(await client.files.waitForProcessing(made.id), made);
  assert.deepEqual(await contentOf(made.id), content);
  const later = await create(content, "later.txt", "user_data");
  const ids = (await all(client.files.list())).map((one) => one.id);
  same(ids.filter((id) => id === made.id || id === later.id), [later.id, made.id]);
  const ofPurpose = await all(client.files.list({ purpose: "user_data", limit: 2 }));
  assert.ok(!ofPurpose.some((one) => one.id === made.id));
  same(await client.files[DELETE](made.id), { id: made.id, object: "file", deleted: true });
  const gone = `No such File object: ${made.id}`;
  await refused(openai.NotFoundError, client.files.retrieve(made.id), gone);
  await refused(openai.NotFoundError, client.files.content(made.id), gone);
}

export async function files_expire_when_they_are_told_to() {
  const expires_after = { anchor: "created_at", seconds: 3600 };
  const made = await create(Buffer.from("{}"), "a.jsonl", "batch", { expires_after });
  same(made.expires_at, made.created_at + 3600);
}

export async function deleted_files_leave_the_lists_of_assistants_and_threads() {
  const kept = (await create(Buffer.from("1,2"), "a.csv", "assistants")).id;
  const gone = (await create(Buffer.from("1,2"), "b.csv", "assistants")).id;
  const tool_resources = { code_interpreter: { file_ids: [kept, gone] } };
  const assistant = await newAssistant({ tools: [{ type: "code_interpreter" }], tool_resources });
  const thread = await threads.create({ tool_resources });
  same(assistant.tool_resources, tool_resources);
  await client.files[DELETE](gone);
  const left = { code_interpreter: { file_ids: [kept] } };
  same((await assistants.retrieve(assistant.id)).tool_resources, left);
  same((await threads.retrieve(thread.id)).tool_resources, left);
  await refused(openai.NotFoundError, threads.create({ tool_resources }), `No such File object: ${gone}`);
}

const begin = (filename, bytes) =>
  client.uploads.create({ filename, purpose: "assistants", bytes, mime_type: "text/plain" });
const add = async (upload, content) =>
  (await client.uploads.parts.create(upload.id, { data: await toFile(content, "blob") })).id;

export async function uploads_are_sent_whole_or_in_parts() {
  const content = randomBytes(256_000);
  const md5 = createHash("md5").update(content).digest("hex");
  for (const size of [content.length, 100_000]) {
    const upload = await begin("a.bin", content.length);
    const pieces = [];
    for (let start = 0; start < content.length; start += size) pieces.push(content.subarray(start, start + size));
    const part_ids = await Promise.all(pieces.map((piece) => add(upload, piece)));
    const done = await client.uploads.complete(upload.id, { part_ids, md5 });
    same([done.status, done.file.filename, done.file.bytes], ["completed", "a.bin", content.length]);
    assert.deepEqual(await contentOf(done.file.id), content);
  }
}

export async function uploads_are_put_together_by_hand_or_cancelled() {
  const upload = await begin("a.txt", 6);
  same([upload.status, upload.file, upload.expires_at - upload.created_at], ["pending", null, 3600]);
  const [last, first] = [await add(upload, Buffer.from("def")), await add(upload, Buffer.from("abc"))];
  const done = await client.uploads.complete(upload.id, { part_ids: [first, last] });
  same((await contentOf(done.file.id)).toString(), "abcdef");
  const other = await begin("a.txt", 6);
  same((await client.uploads.cancel(other.id)).status, "cancelled");
  const told = "Cannot complete upload with status 'cancelled'.";
  await refused(openai.BadRequestError, client.uploads.complete(other.id, { part_ids: [] }), told);
}

export async function image_file_reaches_the_model() {
  const image = Buffer.concat([PNG, randomBytes(16)]);
  const file = await create(image, "a.png", "vision");
  const content = [
    { type: "text", text: "@say A picture" },
    { type: "image_file", image_file: { file_id: file.id, detail: "low" } },
  ];
  const thread = await threads.create({ messages: [{ role: "user", content }] });
  const assistant = await newAssistant({ model: "gpt-4o" });
  const run = await runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  same(run.status, "completed");
  const url = `data:image/png;base64,${image.toString("base64")}`;
  const [request] = await modelRequests(url);
  same(request.messages.at(-1).content[1], { type: "image_url", image_url: { url, detail: "low" } });
}
