// What is refused, as the client's error classes and letter by letter.

import {
  assistants,
  below,
  client,
  messages,
  newAssistant,
  openai,
  refused,
  runs,
  same,
  threads,
  waitingRun,
} from "./common.mjs";

export async function unknown_ids_raise_not_found() {
  const parents = { thread_id: (await threads.create()).id };
  const missing = async (kind, id, promise) => {
    const error = await refused(openai.NotFoundError, promise, `No ${kind} found with id '${id}'.`);
    same([error.status, error.param, error.code], [404, null, null]);
  };
  await missing("assistant", "asst_x", assistants.retrieve("asst_x"));
  await missing("thread", "thread_x", threads.retrieve("thread_x"));
  await missing("thread", "thread_x", messages.create("thread_x", { role: "user", content: "Hi" }));
  await missing("message", "msg_x", below(messages, "retrieve", parents, "msg_x"));
  await missing("run", "run_x", below(runs, "retrieve", parents, "run_x"));
  await missing("assistant", "asst_x", runs.create(parents.thread_id, { assistant_id: "asst_x" }));
}

export async function wrong_values_raise_bad_request() {
  const bad = async (param, code, message, promise) => {
    const error = await refused(openai.BadRequestError, promise, message);
    same([error.status, error.param, error.code], [400, param, code]);
  };
  await bad(
    "assistant_id",
    "invalid_value",
    "Invalid 'assistant_id': 'foo'. Expected an ID that begins with 'asst'.",
    runs.create((await threads.create()).id, { assistant_id: "foo" }),
  );
  await bad(
    "tools[0].type",
    "invalid_value",
    "Invalid value: 'retrieval'. Supported values are: 'code_interpreter', 'function', and 'file_search'.",
    newAssistant({ tools: [{ type: "retrieval" }] }),
  );
  await bad(
    "model",
    "missing_required_parameter",
    "Missing required parameter: 'model'.",
    client.post("/assistants", { body: {} }),
  );
  await bad("nonsense", "unknown_parameter", "Unknown parameter: 'nonsense'.", newAssistant({ nonsense: 1 }));
  await bad(
    "metadata.k",
    "string_above_max_length",
    "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, " +
      "but got a string with length 600 instead.",
    threads.create({ metadata: { k: "x".repeat(600) } }),
  );
}

export async function busy_threads_raise_bad_request() {
  const run = await waitingRun('@calls [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]');
  const parents = { thread_id: run.thread_id };
  const ids = run.required_action.submit_tool_outputs.tool_calls.map((call) => call.id);
  const submit = (...chosen) =>
    below(runs, "submitToolOutputs", parents, run.id, {
      tool_outputs: chosen.map((id) => ({ tool_call_id: id, output: "x" })),
    });
  const busy = async (message, promise) => {
    const error = await refused(openai.BadRequestError, promise, message);
    same([error.status, error.param, error.code], [400, null, null]);
  };
  await busy(
    `Can't add messages to ${run.thread_id} while a run ${run.id} is active.`,
    messages.create(run.thread_id, { role: "user", content: "Hi" }),
  );
  await busy(
    `Thread ${run.thread_id} already has an active run ${run.id}.`,
    runs.create(run.thread_id, { assistant_id: run.assistant_id }),
  );
  const quoted = ids.map((id) => `'${id}'`);
  await busy(`Expected tool outputs for call_ids [${quoted.join(", ")}], got [${quoted[0]}]`, submit(ids[0]));
  await submit(...ids);
  same((await below(runs, "poll", parents, run.id)).status, "completed");
  await busy('Runs in status "completed" do not accept tool outputs.', submit(...ids));
  await busy("Cannot cancel run with status 'completed'.", below(runs, "cancel", parents, run.id));
}

export async function wrong_key_raises_authentication_error() {
  const stranger = new openai.OpenAI({ apiKey: "sk-nobody-has-this-key", maxRetries: 0 });
  const error = await refused(
    openai.AuthenticationError,
    stranger.beta.threads.create(),
    "Incorrect API key provided: 'sk-no***ey'. You can find your API key at " +
      "https://platform.openai.com/account/api-keys.",
  );
  same([error.status, error.code], [401, "invalid_api_key"]);
}
