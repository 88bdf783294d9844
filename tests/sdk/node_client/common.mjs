// The client under test, and what its scenarios share.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

// The client is installed in the working directory; this file is not below it.
export const openai = createRequire(join(process.cwd(), "package.json"))("openai");
const { OpenAI } = openai;

// No retries: a scenario shall see the first answer. The clients' own default would hide a lone 500.
export const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });
export const { assistants, threads } = client.beta;
export const { runs, messages } = threads;

const isNew = assistants.del === undefined;
export const DELETE = isNew ? "delete" : "del";

/** Calls a method on something below others: major 5 put the ids of the parents behind the id, into an object. */
export const below = (resource, method, parents, id, body = {}) =>
  isNew ? resource[method](id, { ...parents, ...body }) : resource[method](...Object.values(parents), id, body);

export const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
export const RUN_START = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"];
export const RUN_AGAIN = ["thread.run.queued", "thread.run.in_progress"];
export const STEP_START = ["thread.run.step.created", "thread.run.step.in_progress"];
export const MESSAGE_START = ["thread.message.created", "thread.message.in_progress", "thread.message.delta"];
export const TEXT_STEP = [...STEP_START, ...MESSAGE_START, "thread.message.completed", "thread.run.step.completed"];
export const CALL_STEP = [...STEP_START, "thread.run.step.delta"];

/** Compares as JSON: the SDK's objects carry prototypes and hidden keys. */
export const same = (got, wanted) =>
  assert.deepEqual(JSON.parse(JSON.stringify(got ?? null)), JSON.parse(JSON.stringify(wanted ?? null)));

export const addName = (names, name) => {
  if (names.at(-1) !== name) names.push(name);
};

/**
 * What a helper stream tells its listeners: event names (runs of the same name once), text, ids of calls, and steps
 * and messages in their last state. The helper's own final steps and messages may keep the first state they saw.
 */
export function record(stream) {
  const seen = { events: [], text: "", calls: [], steps: [], messages: [], ended: false };
  stream.on("event", ({ event, data }) => {
    addName(seen.events, event);
    if (/^thread\.message\.(completed|incomplete)$/.test(event)) seen.messages.push(data);
  });
  stream.on("runStepDone", (step) => seen.steps.push(step));
  stream.on("textDelta", (delta, snapshot) => {
    seen.text += delta.value ?? "";
    same(snapshot.value, seen.text);
  });
  stream.on("toolCallCreated", (call) => seen.calls.push(call.id));
  stream.on("end", () => (seen.ended = true));
  return seen;
}

export async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

export const newAssistant = (more = {}) =>
  assistants.create({ model: "scripted-1", name: "Tester", instructions: "Be brief.", ...more });

export const newThread = (text) => threads.create({ messages: [{ role: "user", content: text }] });

/** All texts of a thread, oldest first. */
export async function texts(threadId) {
  const listed = await all(messages.list(threadId, { order: "asc" }));
  return listed.flatMap((message) => message.content.filter((part) => part.text).map((part) => part.text.value));
}

/** The newest message of a thread. */
export const newest = async (threadId) => (await messages.list(threadId, { limit: 1 })).data[0];

/** The bodies of the model server's requests that contain a text, oldest first. */
export async function modelRequests(marker) {
  const answer = await fetch(`${process.env.MODEL_REQUESTS_URL}?contains=${encodeURIComponent(marker)}`);
  return (await answer.json()).map((request) => request.body);
}

/** The error that a promise must be rejected with, after a look at its class and its message, letter by letter. */
export async function refused(kind, promise, message) {
  const error = await promise.then(
    () => assert.fail(`nothing was thrown instead of ${kind.name}: ${message}`),
    (thrown) => thrown,
  );
  assert.equal(error.constructor.name, kind.name, String(error));
  assert.equal(error.error.message, message);
  assert.equal(error.type, "invalid_request_error");
  return error;
}

/** A run that waits for tool outputs. */
export async function waitingRun(text, more = {}) {
  const assistant = await newAssistant({ tools: [WEATHER] });
  const run = await runs.createAndPoll((await newThread(text)).id, { assistant_id: assistant.id, ...more });
  same(run.status, "requires_action");
  return run;
}
