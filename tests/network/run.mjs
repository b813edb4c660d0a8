// run.mjs FOLDER MODEL.onnx OUT NAME=FILE.npy ...: runs a model with ONNX Runtime (onnxruntime-node below FOLDER/node_modules), one thread, on
// arrays of files; OUT/NAME.npy for each output, other letters than a-z A-Z 0-9 _ and . as _. --time=N before FOLDER also prints
// {"ns_min", "ns_median"} of N runs.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

const words = process.argv.slice(2);
const times = words[0].startsWith("--time=") ? Number(words.shift().slice(7)) : 0;
const [folder, model, out, ...given] = words;
const ort = createRequire(join(resolve(folder), "x.js"))("onnxruntime-node");

const kinds = { "<f4": ["float32", Float32Array], "<f8": ["float64", Float64Array], "<i8": ["int64", BigInt64Array] };

function read(path) {
  const bytes = readFileSync(path);
  const wide = bytes[6] >= 2;
  const length = wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  const start = (wide ? 12 : 10) + length;
  const header = bytes.toString("latin1", wide ? 12 : 10, start);
  const [type, make] = kinds[/'descr': '([^']*)'/.exec(header)[1]];
  const dims = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").map((s) => s.trim()).filter(Boolean).map(Number);
  const data = bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length);
  return new ort.Tensor(type, new make(data), dims);
}

function write(path, tensor) {
  const descr = Object.keys(kinds).find((k) => kinds[k][0] === tensor.type);
  const dims = tensor.dims.join(", ") + (tensor.dims.length === 1 ? "," : "");
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  writeFileSync(path, Buffer.concat([head, Buffer.from(header, "latin1"), Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)]));
}

const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential" });
const feeds = Object.fromEntries(given.map((word) => {
  const at = word.lastIndexOf("=");
  return [word.slice(0, at), read(word.slice(at + 1))];
}));
const results = await session.run(feeds);
mkdirSync(out, { recursive: true });
for (const name of session.outputNames) write(join(out, name.replace(/[^A-Za-z0-9_.]/g, "_") + ".npy"), results[name]);

const taken = [];
for (let i = 0; i < times; i++) {
  const start = process.hrtime.bigint();
  await session.run(feeds);
  taken.push(Number(process.hrtime.bigint() - start));
}
taken.sort((a, b) => a - b);
if (times) console.log(JSON.stringify({ ns_min: taken[0], ns_median: taken[taken.length >> 1] }));
