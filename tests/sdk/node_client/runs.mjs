// Runs: text, functions, and every other way to end.

import assert from "node:assert/strict";

import {
  CALL_STEP,
  MESSAGE_START,
  RUN_AGAIN,
  RUN_START,
  STEP_START,
  TEXT_STEP,
  WEATHER,
  addName,
  all,
  below,
  messages,
  newAssistant,
  newThread,
  newest,
  record,
  runs,
  same,
  texts,
  threads,
  waitingRun,
} from "./common.mjs";

const calls = (run) => run.required_action.submit_tool_outputs.tool_calls;

/** An assistant's and a thread's ids, for a run on a text. */
async function ready(text, more = {}) {
  const [assistant, thread] = await Promise.all([newAssistant(more), newThread(text)]);
  return [thread.id, { assistant_id: assistant.id }];
}

export async function create_and_poll_answers_with_text() {
  const [threadId, body] = await ready("@say Hello there");
  const run = await runs.createAndPoll(threadId, body);
  same([run.status, run.expires_at, run.last_error], ["completed", null, null]);
  const { prompt_tokens, completion_tokens, total_tokens } = run.usage;
  same([prompt_tokens, completion_tokens, total_tokens], [20, 10, 30]);
  same(await texts(threadId), ["@say Hello there", "Hello there"]);
  same((await all(runs.list(threadId))).map((one) => one.id), [run.id]);
  const [answer] = await all(messages.list(threadId, { run_id: run.id }));
  same([answer.assistant_id, answer.run_id, answer.role], [body.assistant_id, run.id, "assistant"]);
}

async function streamText(method) {
  const [threadId, body] = await ready("@say Hello there, friend");
  const stream = runs[method](threadId, body);
  const seen = record(stream);
  await stream.done();
  same(seen.events, [...RUN_START, ...TEXT_STEP, "thread.run.completed"]);
  same([seen.text, seen.ended], ["Hello there, friend", true]);
  same((await texts(threadId)).at(-1), seen.text);
}

export const stream_sends_text_in_the_documented_order = () => streamText("stream");

export const create_and_stream_sends_text_in_the_documented_order = () => streamText("createAndStream");

export async function streamed_snapshots_equal_what_is_polled() {
  const [threadId, body] = await ready("@say Ünï 🎭 code");
  const stream = runs.stream(threadId, body);
  const seen = record(stream);
  const run = await stream.finalRun();
  same(run, await below(runs, "retrieve", { thread_id: threadId }, run.id));
  same(seen.steps, await all(below(runs.steps, "list", { thread_id: threadId }, run.id)));
  same(seen.messages, await all(messages.list(threadId, { run_id: run.id })));
  const parents = { thread_id: threadId, run_id: run.id };
  same(await below(runs.steps, "retrieve", parents, seen.steps[0].id), seen.steps[0]);
}

export async function raw_events_are_read_without_the_helper() {
  const [threadId, body] = await ready("@say Hello there");
  const names = [];
  let text = "";
  for await (const { event, data } of await runs.create(threadId, { ...body, stream: true })) {
    addName(names, event);
    if (event === "thread.message.delta") text += data.delta.content[0].text.value;
  }
  same(names, [...RUN_START, ...TEXT_STEP, "thread.run.completed"]);
  same(text, "Hello there");
}

// --- functions

export async function function_call_is_streamed_and_its_output_submitted_streaming() {
  const [threadId, body] = await ready('@call get_weather {"city": "Paris"}', { tools: [WEATHER] });
  const parents = { thread_id: threadId };
  const stream = runs.stream(threadId, body);
  const first = record(stream);
  const run = await stream.finalRun();
  const streamed = await stream.finalRunSteps();
  same(first.events, [...RUN_START, ...CALL_STEP, "thread.run.requires_action"]);
  same([run.status, run.usage], ["requires_action", null]);
  const [call] = calls(run);
  same([call.type, call.function], ["function", { name: "get_weather", arguments: '{"city": "Paris"}' }]);
  same(first.calls, [call.id]);
  same(streamed[0].step_details.tool_calls[0].function.arguments, call.function.arguments);
  for (const one of streamed[0].step_details.tool_calls) delete one.index; // the helper leaves the deltas' `index` in
  same(streamed, await all(below(runs.steps, "list", parents, run.id)));
  const again = below(runs, "submitToolOutputsStream", parents, run.id, {
    tool_outputs: [{ tool_call_id: call.id, output: "18 degrees" }],
  });
  const second = record(again);
  const ended = await again.finalRun();
  same(second.events, ["thread.run.step.completed", ...RUN_AGAIN, ...TEXT_STEP, "thread.run.completed"]);
  same(second.text, "The tools say: 18 degrees");
  same([ended.status, ended.required_action, ended.usage.total_tokens], ["completed", null, 60]);
  const steps = await all(below(runs.steps, "list", parents, run.id, { order: "asc" }));
  same(steps.map((step) => step.type), ["tool_calls", "message_creation"]);
  same(steps[0].step_details.tool_calls[0].function.output, "18 degrees");
}

export async function parallel_function_calls_are_streamed_and_submitted() {
  const wanted = ["Paris", "Rome"].map((city) => ({ name: "get_weather", arguments: { city } }));
  const [threadId, body] = await ready(`@calls ${JSON.stringify(wanted)}`, { tools: [WEATHER] });
  const stream = runs.stream(threadId, body);
  const run = await stream.finalRun();
  const [step] = await stream.finalRunSteps();
  const asked = calls(run);
  same(asked.map((call) => JSON.parse(call.function.arguments)), wanted.map((one) => one.arguments));
  const pairs = (list) => list.map((call) => [call.id, call.function.arguments]);
  same(pairs(step.step_details.tool_calls), pairs(asked));
  const outputs = asked.map((call, number) => ({ tool_call_id: call.id, output: `${number} degrees` }));
  const again = below(runs, "submitToolOutputsStream", { thread_id: threadId }, run.id, {
    tool_outputs: [...outputs].reverse(),
  });
  same((await again.finalRun()).status, "completed");
  same((await texts(threadId)).at(-1), "The tools say: 0 degrees; 1 degrees");
}

export async function tool_outputs_are_submitted_and_polled() {
  const run = await waitingRun('@call get_weather {"city": "Paris"}');
  const [call] = calls(run);
  const ended = await below(runs, "submitToolOutputsAndPoll", { thread_id: run.thread_id }, run.id, {
    tool_outputs: [{ tool_call_id: call.id, output: "rain" }],
  });
  same(ended.status, "completed");
  same((await texts(run.thread_id)).at(-1), "The tools say: rain");
}

export async function text_before_a_call_comes_in_a_step_of_its_own() {
  const [threadId, body] = await ready("@saycall get_weather {}", { tools: [WEATHER] });
  const stream = runs.stream(threadId, body);
  const seen = record(stream);
  await stream.done();
  same(seen.events, [...RUN_START, ...TEXT_STEP, ...CALL_STEP, "thread.run.requires_action"]);
  same(seen.text, "Let me look that up.");
}

export async function thread_is_created_and_run_streaming() {
  const stream = threads.createAndRunStream({
    assistant_id: (await newAssistant()).id,
    thread: { messages: [{ role: "user", content: "@say From nothing" }], metadata: { a: "1" } },
  });
  const seen = record(stream);
  const run = await stream.finalRun();
  same(seen.events, ["thread.created", ...RUN_START, ...TEXT_STEP, "thread.run.completed"]);
  same((await threads.retrieve(run.thread_id)).metadata, { a: "1" });
  same(await texts(run.thread_id), ["@say From nothing", "From nothing"]);
}

export async function thread_is_created_and_run_polling() {
  const run = await threads.createAndRunPoll({
    assistant_id: (await newAssistant()).id,
    thread: { messages: [{ role: "user", content: "@say From nothing" }] },
    metadata: { b: "2" },
  });
  same([run.status, run.metadata], ["completed", { b: "2" }]);
  same((await texts(run.thread_id)).at(-1), "From nothing");
}

// --- runs that end otherwise

export async function cancelled_stream_ends_cancelled() {
  const [threadId, body] = await ready("@hang Some words");
  const names = [];
  for await (const { event } of await runs.create(threadId, { ...body, stream: true })) {
    if (event === "thread.message.delta" && !names.includes(event)) {
      const [run] = await all(runs.list(threadId));
      const asked = await below(runs, "cancel", { thread_id: threadId }, run.id);
      assert.match(asked.status, /^cancelling$|^cancelled$/);
    }
    addName(names, event);
  }
  // The cancel races the words that are still on their way: deltas may come behind `cancelling`.
  const rest = names.filter((name) => name !== "thread.message.delta");
  const ends = ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled"];
  same(rest, [...RUN_START, ...STEP_START, ...MESSAGE_START.slice(0, 2), ...ends, "thread.run.cancelled"]);
  const message = await newest(threadId);
  same([message.status, message.incomplete_details], ["incomplete", { reason: "run_cancelled" }]);
}

export async function cancelled_run_is_polled_to_its_end() {
  const [threadId, body] = await ready("@hang");
  const run = await runs.create(threadId, body);
  await below(runs, "cancel", { thread_id: threadId }, run.id);
  const ended = await below(runs, "poll", { thread_id: threadId }, run.id);
  same(ended.status, "cancelled");
  assert.ok(ended.cancelled_at);
  await messages.create(threadId, { role: "user", content: "The thread is free again." });
}

export async function model_failure_fails_the_run_and_ends_the_helper_normally() {
  const [threadId, body] = await ready("@fail 400 The model refuses.");
  const stream = runs.stream(threadId, body);
  const seen = record(stream);
  const run = await stream.finalRun();
  same(seen.events, [...RUN_START, "thread.run.failed"]);
  same([run.status, run.last_error.code, seen.ended], ["failed", "server_error", true]);
  assert.ok(run.failed_at && run.last_error.message);
  const cutThread = (await newThread("@cut Some words")).id;
  const cut = await runs.createAndPoll(cutThread, body);
  same([cut.status, cut.last_error.code], ["failed", "server_error"]);
  const message = await newest(cutThread);
  same([message.status, message.incomplete_details], ["incomplete", { reason: "run_failed" }]);
}

export async function length_makes_run_and_message_incomplete() {
  const [threadId, body] = await ready("@length Some words");
  // Read without the helper: that of major 4 does not know `thread.run.incomplete` as an end.
  const events = await all(await runs.create(threadId, { ...body, max_completion_tokens: 256, stream: true }));
  const names = [];
  for (const { event } of events) addName(names, event);
  const ends = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"];
  same(names, [...RUN_START, ...STEP_START, ...MESSAGE_START, ...ends]);
  const [message, , run] = events.slice(-3).map((event) => event.data);
  same([run.status, run.incomplete_details], ["incomplete", { reason: "max_completion_tokens" }]);
  same([message.status, message.incomplete_details], ["incomplete", { reason: "max_tokens" }]);
  same((await texts(threadId)).at(-1), "Some words");
}

export async function refusal_arrives_as_its_own_kind_of_content() {
  const [threadId, body] = await ready("@refuse I cannot help with that.");
  let refusal = "";
  for await (const { event, data } of await runs.create(threadId, { ...body, stream: true })) {
    if (event !== "thread.message.delta") continue;
    const [part] = data.delta.content;
    same([part.index, part.type], [0, "refusal"]);
    refusal += part.refusal;
  }
  same(refusal, "I cannot help with that.");
  same((await newest(threadId)).content, [{ type: "refusal", refusal: "I cannot help with that." }]);
}
