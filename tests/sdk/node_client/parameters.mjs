// What a run is created with, and what of it reaches the model server.

import { randomUUID } from "node:crypto";

import { WEATHER, all, messages, modelRequests, newAssistant, newThread, runs, same, threads } from "./common.mjs";

export async function image_url_reaches_the_model() {
  const marker = randomUUID();
  const image_url = { url: `https://example.com/${marker}.png`, detail: "low" };
  const content = [
    { type: "text", text: "@say A picture" },
    { type: "image_url", image_url },
  ];
  const thread = await threads.create({ messages: [{ role: "user", content }] });
  const assistant = await newAssistant({ model: "gpt-4o" });
  const run = await runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  same(run.status, "completed");
  const [request] = await modelRequests(marker);
  same(request.messages.at(-1).content, content);
  const [kept] = (await all(messages.list(thread.id))).filter((message) => message.role === "user");
  same(kept.content[1], { type: "image_url", image_url });
}

export async function every_seed_parameter_is_accepted_at_once() {
  const marker = randomUUID();
  const tool_choice = { type: "function", function: { name: "get_weather" } };
  const earlier = ["One", "Two", "Three"].map((content) => ({ role: "user", content }));
  const thread = await threads.create({ messages: earlier });
  const stream = runs.createAndStream(thread.id, {
    assistant_id: (await newAssistant({ instructions: "Replaced." })).id,
    model: "gpt-4o-2024-05-13",
    instructions: "Answer in JSON.",
    additional_instructions: "Be kind.",
    additional_messages: [{ role: "user", content: `@say ${marker}`, metadata: { m: "1" } }],
    tools: [WEATHER],
    metadata: { purpose: "test" },
    temperature: 0.25,
    top_p: 0.75,
    max_prompt_tokens: 4000,
    max_completion_tokens: 500,
    truncation_strategy: { type: "last_messages", last_messages: 2 },
    tool_choice,
    response_format: { type: "json_object" },
  });
  const run = await stream.finalRun();
  same([run.status, run.model, run.temperature, run.top_p], ["completed", "gpt-4o-2024-05-13", 0.25, 0.75]);
  same([run.max_prompt_tokens, run.max_completion_tokens], [4000, 500]);
  same(run.instructions, "Answer in JSON.\nBe kind.");
  same([run.metadata, run.tools[0].function.name], [{ purpose: "test" }, "get_weather"]);
  same(run.truncation_strategy, { type: "last_messages", last_messages: 2 });
  same([run.tool_choice, run.response_format], [tool_choice, { type: "json_object" }]);
  const [request] = await modelRequests(marker);
  same(request.messages, [
    { role: "system", content: "Answer in JSON.\nBe kind." },
    { role: "user", content: "Three" },
    { role: "user", content: `@say ${marker}` },
  ]);
  same([request.model, request.temperature, request.top_p], ["gpt-4o-2024-05-13", 0.25, 0.75]);
  same([request.max_tokens, request.stream], [500, true]);
  same([request.tools, request.tool_choice], [[WEATHER], tool_choice]);
  same(request.response_format, { type: "json_object" });
}

export async function null_parameters_count_as_absent() {
  const assistant = await newAssistant({ temperature: 0.5 });
  const run = await runs.createAndPoll((await newThread("@say Nothing given")).id, {
    assistant_id: assistant.id,
    model: null,
    instructions: null,
    additional_instructions: null,
    additional_messages: null,
    tools: null,
    metadata: null,
    temperature: null,
    top_p: null,
    max_prompt_tokens: null,
    max_completion_tokens: null,
    truncation_strategy: null,
    tool_choice: null,
    response_format: null,
  });
  same([run.status, run.model, run.instructions], ["completed", "scripted-1", "Be brief."]);
  same([run.temperature, run.top_p, run.metadata, run.tools], [0.5, 1, {}, []]);
  same([run.tool_choice, run.response_format, run.parallel_tool_calls], ["auto", "auto", true]);
  same([run.max_prompt_tokens, run.max_completion_tokens], [null, null]);
  same(run.truncation_strategy, { type: "auto", last_messages: null });
}

export async function newer_parameters_are_accepted_at_once() {
  const marker = randomUUID();
  const response_format = { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } };
  const run = await runs.createAndPoll((await newThread(`@say ${marker}`)).id, {
    assistant_id: (await newAssistant({ tools: [WEATHER] })).id,
    parallel_tool_calls: false,
    reasoning_effort: "none",
    response_format,
    truncation_strategy: { type: "auto", last_messages: 1 },
    tool_choice: "none",
    max_prompt_tokens: 256,
    max_completion_tokens: 256,
    include: ["step_details.tool_calls[*].file_search.results[*].content"],
  });
  same([run.status, run.parallel_tool_calls, run.tool_choice], ["completed", false, "none"]);
  const [request] = await modelRequests(marker);
  same([request.reasoning_effort, request.response_format], ["none", response_format]);
}
