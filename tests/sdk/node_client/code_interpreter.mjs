// Runs whose model writes code.

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
  threads,
} from "./common.mjs";

const CODE =
  "from PIL import Image\nprint('rows: 3')\ndisplay(Image.new('RGB', (2, 2), 'red'))\n" +
  "written = open('table.csv', 'w').write('a,b\\n1,2\\n')";
const asks = (code) => `@call code_interpreter ${JSON.stringify({ code })}`;

const newCoder = async () => ({ assistant_id: (await newAssistant({ tools: [{ type: "code_interpreter" }] })).id });

const content = async (fileId) => Buffer.from(await (await client.files.content(fileId)).arrayBuffer());

export async function code_streams_its_input_its_logs_and_an_image() {
  const thread = await newThread(asks(CODE));
  const stream = runs.createAndStream(thread.id, await newCoder());
  const seen = record(stream);
  let input = "";
  let logs = "";
  stream.on("toolCallDelta", ({ code_interpreter: delta }, snapshot) => {
    input += delta.input ?? "";
    for (const output of delta.outputs ?? []) logs += output.logs ?? "";
    same(snapshot.code_interpreter.input, input);
  });
  const run = await stream.finalRun();
  same(run.status, "completed");
  const worked = [...STEP_START, "thread.run.step.delta", "thread.run.step.completed"];
  same(seen.events, [...RUN_START, ...worked, ...TEXT_STEP, "thread.run.completed"]);
  same([input, logs], [CODE, "rows: 3\n"]);
  same(seen.messages, await all(messages.list(thread.id, { run_id: run.id })));
  same(seen.steps.reverse(), await all(below(runs.steps, "list", { thread_id: thread.id }, run.id)));
  const { outputs } = seen.steps.at(-1).step_details.tool_calls[0].code_interpreter;
  const image = outputs.find((output) => output.type === "image").image;
  same(seen.messages[0].content[0].image_file.file_id, image.file_id);
  same((await content(image.file_id)).subarray(1, 4).toString(), "PNG");
  const [snapshot] = await stream.finalMessages();
  same(snapshot.content.map((part) => part.type), ["image_file", "text"]);
}

export async function code_gives_its_files_to_who_follows_the_links() {
  const thread = await newThread(asks(CODE));
  const run = await runs.createAndPoll(thread.id, await newCoder());
  same(run.status, "completed");
  const [message] = await all(messages.list(thread.id, { run_id: run.id }));
  const { text } = message.content[1];
  const [annotation] = text.annotations;
  same([annotation.type, annotation.text], ["file_path", "sandbox:/mnt/data/table.csv"]);
  same([...text.value].slice(annotation.start_index, annotation.end_index).join(""), annotation.text);
  const file = await client.files.retrieve(annotation.file_path.file_id);
  same([file.filename, file.purpose], ["table.csv", "assistants_output"]);
  same((await content(file.id)).toString(), "a,b\n1,2\n");
}

export async function code_reads_the_files_of_a_message() {
  const sent = await openai.toFile(Buffer.from("3 4 5"), "numbers.txt");
  const file = await client.files.create({ file: sent, purpose: "assistants" });
  const attachments = [{ file_id: file.id, tools: [{ type: "code_interpreter" }] }];
  const code = asks("sum(map(int, open('/mnt/data/numbers.txt').read().split()))");
  const thread = await threads.create({ messages: [{ role: "user", content: code, attachments }] });
  const run = await runs.createAndPoll(thread.id, await newCoder());
  const [step] = await all(below(runs.steps, "list", { thread_id: thread.id }, run.id, { order: "asc" }));
  same(step.step_details.tool_calls[0].code_interpreter.outputs, [{ type: "logs", logs: "12" }]);
}
