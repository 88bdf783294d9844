// Assistants, threads and messages; models, and what is passed through to the model server.

import assert from "node:assert/strict";

import {
  DELETE,
  WEATHER,
  all,
  assistants,
  below,
  client,
  messages,
  newAssistant,
  openai,
  refused,
  runs,
  same,
  texts,
  threads,
  waitingRun,
} from "./common.mjs";

export async function assistants_are_created_read_changed_and_deleted() {
  const tools = [
    { type: "code_interpreter" },
    { type: "file_search", file_search: { max_num_results: 5 } },
    { ...WEATHER, function: { ...WEATHER.function, strict: false } },
  ];
  const made = await newAssistant({
    description: "For tests",
    tools,
    metadata: { a: "1" },
    temperature: 0.5,
    top_p: 0.9,
    response_format: { type: "json_object" },
  });
  assert.match(made.id, /^asst_/);
  same(made.object, "assistant");
  same(made.tools.map((tool) => tool.type), ["code_interpreter", "file_search", "function"]);
  same(made.tools[1].file_search.max_num_results, 5);
  same(made.tools[2], tools[2]);
  same([made.temperature, made.top_p, made.response_format], [0.5, 0.9, { type: "json_object" }]);
  assert.match(made._request_id, /^req_/);
  same(await assistants.retrieve(made.id), made);
  const changed = await assistants.update(made.id, { name: "Renamed", tools: [] });
  same([changed.name, changed.tools, changed.instructions], ["Renamed", [], "Be brief."]);
  same(changed.created_at, made.created_at);
  same(await assistants[DELETE](made.id), { id: made.id, object: "assistant.deleted", deleted: true });
  const gone = `No assistant found with id '${made.id}'.`;
  await refused(openai.NotFoundError, assistants.retrieve(made.id), gone);
}

export async function assistants_are_listed_page_by_page() {
  const made = [];
  for (let number = 0; number < 51; number++) made.push((await newAssistant({ name: `Number ${number}` })).id);
  const listed = async (query) => (await all(assistants.list(query))).map((one) => one.id);
  same(await listed({}), [...made].reverse());
  same(await listed({ limit: 7, order: "asc" }), made);
  same(await listed({ limit: 20, order: "asc", after: made[0] }), made.slice(1));
  const page = await assistants.list({ limit: 2, order: "asc", before: made[5] });
  same([page.data.map((one) => one.id), page.has_more], [made.slice(3, 5), true]);
}

export async function threads_and_messages_are_created_read_changed_and_deleted() {
  const thread = await threads.create({ metadata: { a: "1" }, messages: [{ role: "user", content: "First" }] });
  const parents = { thread_id: thread.id };
  same(await threads.retrieve(thread.id), thread);
  const content = [{ type: "text", text: "Second" }];
  const second = await messages.create(thread.id, { role: "assistant", content });
  same([second.role, second.content], ["assistant", [{ type: "text", text: { value: "Second", annotations: [] } }]]);
  same([second.run_id, second.assistant_id, second.attachments], [null, null, []]);
  same(await texts(thread.id), ["First", "Second"]);
  same(await below(messages, "retrieve", parents, second.id), second);
  const removed = await below(messages, DELETE, parents, second.id);
  same(removed, { id: second.id, object: "thread.message.deleted", deleted: true });
  same(await texts(thread.id), ["First"]);
  same(await threads[DELETE](thread.id), { id: thread.id, object: "thread.deleted", deleted: true });
  await refused(openai.NotFoundError, threads.retrieve(thread.id), `No thread found with id '${thread.id}'.`);
}

export async function metadata_is_replaced_on_every_object() {
  const run = await waitingRun("@call get_weather {}", { metadata: { old: "1" } });
  const parents = { thread_id: run.thread_id };
  const metadata = { new: "2" };
  const [message] = await all(messages.list(run.thread_id));
  same((await assistants.update(run.assistant_id, { metadata })).metadata, metadata);
  same((await threads.update(run.thread_id, { metadata })).metadata, metadata);
  same((await below(messages, "update", parents, message.id, { metadata })).metadata, metadata);
  same((await below(runs, "update", parents, run.id, { metadata })).metadata, metadata);
  same((await below(runs, "retrieve", parents, run.id)).metadata, metadata);
}

export async function models_are_listed() {
  const listed = await all(client.models.list());
  assert.ok(listed.some((model) => model.id === "scripted-1"));
}

export async function chat_completion_passes_through() {
  const answer = await client.chat.completions.create({
    model: "scripted-1",
    messages: [{ role: "user", content: '@call get_weather {"city": "Rome"}' }],
    tools: [WEATHER],
  });
  same(answer.choices[0].finish_reason, "tool_calls");
  same(answer.choices[0].message.tool_calls[0].function.arguments, '{"city": "Rome"}');
}

export async function chat_completion_streams_through() {
  const received = await all(
    await client.chat.completions.create({
      model: "scripted-1",
      messages: [{ role: "user", content: "@say Piece by piece" }],
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const pieces = received.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? ""));
  same(pieces.join(""), "Piece by piece");
  same(received.at(-1).usage.total_tokens, 30);
}

export async function embeddings_pass_through() {
  const answer = await client.embeddings.create({ model: "scripted-1", input: ["one two", "three"] });
  same(answer.data.map((row) => row.embedding.length), [64, 64]);
}

export async function azure_client_runs_an_assistant() {
  const endpoint = process.env.OPENAI_BASE_URL.replace(/\/v1$/, "");
  const azure = new openai.AzureOpenAI({
    endpoint,
    apiVersion: "2024-05-01-preview",
    apiKey: process.env.OPENAI_API_KEY,
    baseURL: null, // the environment's is the other kind of server
    maxRetries: 0,
  });
  const assistant = await azure.beta.assistants.create({ model: "scripted-1", instructions: "Be brief." });
  const thread = await azure.beta.threads.create({
    messages: [{ role: "user", content: "@say Hello from the cloud" }],
  });
  const run = await azure.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  same(run.status, "completed");
  same((await texts(thread.id)).at(-1), "Hello from the cloud");
}
