// Runs that search files.

import {
  RUN_START,
  STEP_START,
  TEXT_STEP,
  all,
  below,
  client,
  messages,
  newAssistant,
  newThread,
  openai,
  record,
  runs,
  same,
} from "./common.mjs";

const INCLUDE = ["step_details.tool_calls[*].file_search.results[*].content"];
const RAIN = "In Bergen it rains on two days of three.";
const ASKS = '@call file_search {"queries": ["rain in Bergen"]}';

/** A thread's id, a run's body and the id of the one file to search. */
async function ready() {
  const content = await openai.toFile(Buffer.from(RAIN), "rain.txt");
  const file = await client.files.create({ file: content, purpose: "assistants" });
  const store = await client.vectorStores.create({ name: "Weather" });
  same((await client.vectorStores.files.createAndPoll(store.id, { file_id: file.id })).status, "completed");
  const assistant = await newAssistant({
    tools: [{ type: "file_search" }],
    tool_resources: { file_search: { vector_store_ids: [store.id] } },
  });
  return [(await newThread(ASKS)).id, { assistant_id: assistant.id }, file.id];
}

export async function file_search_streams_its_step_and_true_citations() {
  const [threadId, body, fileId] = await ready();
  const stream = runs.stream(threadId, body);
  const seen = record(stream);
  const run = await stream.finalRun();
  const searched = [...STEP_START, "thread.run.step.delta", "thread.run.step.completed"];
  same(seen.events, [...RUN_START, ...searched, ...TEXT_STEP, "thread.run.completed"]);
  same(seen.messages, await all(messages.list(threadId, { run_id: run.id })));
  same(seen.steps.reverse(), await all(below(runs.steps, "list", { thread_id: threadId }, run.id)));
  const [{ text }] = seen.messages[0].content;
  same(text.annotations.map((one) => one.file_citation.file_id), [fileId, fileId]);
  for (const one of text.annotations) same([...text.value].slice(one.start_index, one.end_index).join(""), one.text);
  const places = (cited) => cited.map((one) => [one.text, one.start_index, one.end_index]);
  const [snapshot] = await stream.finalMessages();
  same(places(snapshot.content[0].text.annotations), places(text.annotations));
}

export async function search_results_have_their_text_for_who_asks() {
  const [threadId, body, fileId] = await ready();
  const run = await runs.createAndPoll(threadId, body);
  same(run.status, "completed");
  const first = async (query) =>
    (await all(below(runs.steps, "list", { thread_id: threadId }, run.id, { order: "asc", ...query })))[0];
  const result = (step) => step.step_details.tool_calls[0].file_search.results[0];
  const plain = result(await first({}));
  same([plain.file_id, plain.file_name, plain.content], [fileId, "rain.txt", undefined]);
  const step = await first({ include: INCLUDE });
  same(result(step).content.map((one) => one.text), [RAIN]);
  const parents = { thread_id: threadId, run_id: run.id };
  same(await below(runs.steps, "retrieve", parents, step.id, { include: INCLUDE }), step);
}
