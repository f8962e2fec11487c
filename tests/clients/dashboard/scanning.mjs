// The page's check of files: its counts, and its errors.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';

const { scan } = await import(process.env.SCAN);
const rows = Array.from({ length: 20_000 }, () => crypto.randomBytes(128).toString('base64'));
const [one, two] = rows;
const wish = { bytes: 128, hashSize: 128, progress() {}, isStale: () => false };
const read = (content) => scan(new Blob([content]), wish);
const json = (value) => read(JSON.stringify(value));

// More than one slice, without and with strings that cross its end.
const many = await json({ clks: rows });
assert.deepEqual([many.kind, many.encodings.count, many.encodings.bytes, many.encodings.duplicates], ['json', 20_000, 128, 0]);

const blocks = await json({ clknblocks: [[one, 'a', 7], [two], [one, 'a', 'b"\\x']] });
assert.deepEqual([blocks.encodings.count, blocks.encodings.duplicates, blocks.document.unblocked], [3, 1, 1]);
assert.deepEqual([...blocks.document.blocks], [['a', 2], ['b"\\x', 1]]);

const apart = await read(JSON.stringify({ blocks: { 0: ['n', 'm'], 1: [] }, encodings: [one, two] }, null, 1));
assert.deepEqual([apart.encodings.count, apart.document.blocks.size], [2, 2]);

for (const same of [one.replaceAll('/', '\\/'), one.replace(/(.{60})/g, '$1\\n')]) {
  const found = await read(`\uFEFF{"x": {"clks": [null, 1e5]}, "clks": ["${one}", "${same}"]}`);
  assert.deepEqual([found.encodings.count, found.encodings.duplicates], [2, 1]);
}

const bytes = await read(Buffer.concat(rows.slice(0, 10_000).map((row) => Buffer.from(row, 'base64'))));
assert.deepEqual([bytes.kind, bytes.encodings.count], ['bytes', 10_000]);

// Encodings may begin as JSON does.
for (const first of [0x5b, 0x7b]) {
  const begun = await read(Buffer.concat([Buffer.from([0, first]), Buffer.alloc(254, 0x81)]));
  assert.deepEqual([begun.kind, begun.encodings.count], ['bytes', 2]);
}

const table = await read('name,born\r\n"Ada, Countess",1815\r\nAlan\r\n');
assert.deepEqual([table.kind, table.table.rows, table.table.columns, table.table.uneven], ['table', 3, 2, 1]);

for (const [content, words] of [
  ['', /empty/],
  ['{"clks": ["-_-_"]}', /Record 0 is not base64/],
  [`{"clks": ["${one.slice(0, -1)}"]}`, /Record 0 is not complete base64/],
  [`{"clks": ["${one}", null]}`, /Record 1 is not a string/],
  ['{"clks": ["AAAA"]}', /24 bits; the project needs 1024/],
  [`{"clknblocks": [["${one}", true]]}`, /neither a string nor a number/],
  ['{"encodings": {"file": {"bucket": "u", "path": "p"}}}', /names a file in an object store/],
  ['{"clks": []}', /no encodings/],
  ['{"other": []}', /none of the members/],
  ['[1]', /JSON array/],
  ['{"clks": ["AA', /ends in the middle/],
  ['{"clks": [}', /brackets do not match/],
  [`{"clks": ["${one}"]} x`, /something follows its end/],
  [`{"clks": ["${one}"], "clks": []}`, /occurs twice/],
  [crypto.randomBytes(130), /not a multiple of 128/],
]) {
  await assert.rejects(read(content), words, String(content).slice(0, 60));
}
