// Asks a YAML language server what an editor asks it of a manifest: what is wrong, what may stand here, what a key
// means. Usage: node editor.mjs FOLDER-WITH-manifest.schema.json MANIFEST…
import assert from "node:assert/strict";
import {spawn} from "node:child_process";
import {readFile} from "node:fs/promises";
import path from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";

const [folder, ...manifests] = process.argv.slice(2);
const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "node_modules/yaml-language-server/bin/yaml-language-server");
const server = spawn(process.execPath, [program, "--stdio"], {stdio: ["pipe", "pipe", "inherit"]});
const deadline = setTimeout(() => { console.error("the language server does not answer"); server.kill(); process.exit(1); }, 60_000);

let last = 0;
const answers = new Map(); // by number of the question
const verdicts = new Map(); // of documents, by address
function send(message) {
  const text = JSON.stringify({jsonrpc: "2.0", ...message});
  server.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}
function ask(method, params) {
  const id = ++last;
  send({id, method, params});
  return new Promise((resolve, reject) => answers.set(id, {resolve, reject}));
}
let rest = Buffer.alloc(0);
server.stdout.on("data", (part) => {
  rest = Buffer.concat([rest, part]);
  for (;;) {
    const head = rest.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(rest.subarray(0, head))[1]);
    if (rest.length < head + 4 + length) return;
    take(JSON.parse(rest.subarray(head + 4, head + 4 + length)));
    rest = rest.subarray(head + 4 + length);
  }
});
function take(message) {
  if (message.method === "textDocument/publishDiagnostics") {
    verdicts.get(message.params.uri)?.(message.params.diagnostics);
  } else if (message.method === "workspace/configuration") {
    const settings = {yaml: {validate: true, hover: true, completion: true}};
    send({id: message.id, result: message.params.items.map(({section}) => settings[section] ?? null)});
  } else if (message.method && message.id !== undefined) {
    send({id: message.id, result: null});
  } else if (answers.has(message.id)) {
    const {resolve, reject} = answers.get(message.id);
    message.error ? reject(new Error(message.error.message)) : resolve(message.result);
  }
}

// Opens a document as an editor does; returns its address and what is wrong with it.
async function open(name, text) {
  const uri = pathToFileURL(path.join(folder, name)).href;
  const verdict = new Promise((resolve) => verdicts.set(uri, resolve));
  const said = `# yaml-language-server: $schema=${pathToFileURL(path.join(folder, "manifest.schema.json")).href}\n${text}`;
  send({method: "textDocument/didOpen", params: {textDocument: {uri, languageId: "yaml", version: 1, text: said}}});
  return {uri, wrong: (await verdict).map(({message, range}) => `${range.start.line}: ${message}`)};
}

await ask("initialize", {processId: process.pid, rootUri: pathToFileURL(folder).href, workspaceFolders: null,
  capabilities: {workspace: {configuration: true}, textDocument: {hover: {contentFormat: ["plaintext"]}}}});
send({method: "initialized", params: {}});

for (const manifest of manifests) {
  const {wrong} = await open(`good-${path.basename(manifest)}`, await readFile(manifest, "utf8"));
  assert.deepEqual(wrong, [], manifest);
}

const bad = await open("bad.yaml", [
  "name: web",
  "sorce: {ubuntu: '24.04'}",
  "builder: {port: 99999}",
  "gate: {level: lax}",
  "test: [{htpp: {url: x}}]",
].join("\n"));
for (const line of [2, 3, 4, 5]) {
  assert(bad.wrong.some((text) => text.startsWith(`${line}: `)), `line ${line} of ${JSON.stringify(bad.wrong)}`);
}

const {uri} = await open("new.yaml", "name: web\nbuilder:\n  timeouts:\n    unattended: 30m\n  \n");
const {items} = await ask("textDocument/completion", {textDocument: {uri}, position: {line: 5, character: 2}});
const offered = items.map(({label}) => label);
for (const key of ["region", "instance_type", "subnet"]) {
  assert(offered.includes(key), `${key} is not among ${offered}`);
}
const hover = await ask("textDocument/hover", {textDocument: {uri}, position: {line: 4, character: 6}});
assert.match(JSON.stringify(hover.contents), /how long a machine lives when amibake is gone/);

console.log(`the language server finds ${bad.wrong.length} mistakes, offers ${offered.length} keys of builder, and explains them`);
clearTimeout(deadline);
server.kill();
process.exit(0);
