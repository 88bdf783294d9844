// What programs do with the official Node client: runs the functions named in scenario_names.txt.
//
// A script of its own, run in the directory where the client is installed; the server, the key and the scripted
// model's recorder come from OPENAI_BASE_URL, OPENAI_API_KEY and MODEL_REQUESTS_URL. Prints one JSON line per
// scenario: {name, ok, detail, seconds}. What the model answers is asked for in the messages:
// support/model_directives.py.
//
//     node scenarios.mjs [NAME ...]

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";

import * as codeInterpreter from "./node_client/code_interpreter.mjs";
import * as fileSearch from "./node_client/file_search.mjs";
import * as files from "./node_client/files.mjs";
import * as objects from "./node_client/objects.mjs";
import * as parameters from "./node_client/parameters.mjs";
import * as refusals from "./node_client/refusals.mjs";
import * as runs from "./node_client/runs.mjs";
import * as vectorStores from "./node_client/vector_stores.mjs";

const SCENARIOS = {
  ...codeInterpreter,
  ...fileSearch,
  ...files,
  ...objects,
  ...parameters,
  ...refusals,
  ...runs,
  ...vectorStores,
};
const listed = readFileSync(new URL("./scenario_names.txt", import.meta.url), "utf-8").trim().split(/\s+/);
const given = process.argv.slice(2);
const waiting = given.length > 0 ? given : listed;

async function perform(name) {
  const started = performance.now();
  let detail = "";
  try {
    await SCENARIOS[name]();
  } catch (error) {
    detail = error?.stack ?? String(error);
  }
  const seconds = Math.round(performance.now() - started) / 1000;
  console.log(JSON.stringify({ name, ok: detail === "", detail, seconds }));
}

async function work() {
  while (waiting.length > 0) await perform(waiting.shift());
}

// The first alone: it lists everything, and its neighbours make and delete. The others four at a time: most of a
// scenario is waiting, and a server has more than one client anyway.
await perform(waiting.shift());
await Promise.all([work(), work(), work(), work()]);
