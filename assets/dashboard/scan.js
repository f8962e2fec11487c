// Checks a file slice by slice, as the server will: encodings as JSON or bytes, or a table of people.

const SLICE = 1 << 20;
const COUNTED_MAX = 5_000_000;
const BITS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
const BASE64 = new Int16Array(256).fill(-1);
[...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].forEach((letter, value) => {
  BASE64[letter.charCodeAt(0)] = value;
});

export class Fault extends Error {}

// Collects the statistics of encodings.
class Encodings {
  count = 0;
  bytes = 0;
  least = Infinity;
  most = 0;
  bits = 0;
  empty = 0;
  duplicates = 0;
  seen = new Set();

  constructor(bytes) { this.demanded = bytes; }

  add(row) {
    let [bits, one, two] = [0, 0x811c9dc5, 0x1b873593];
    for (let at = 0; at < row.length; at += 1) {
      const byte = row[at];
      bits += BITS[byte];
      one = Math.imul(one ^ byte, 16777619);
      two = Math.imul(two ^ byte, 0x5bd1e995) + at | 0;
    }
    if (this.count === 0) {
      this.bytes = row.length;
      if (this.demanded && row.length !== this.demanded) {
        throw new Fault(`The encodings have ${8 * row.length} bits; the project needs ${8 * this.demanded}.`);
      }
    } else if (row.length !== this.bytes) {
      throw new Fault(`Record ${this.count} has ${row.length} bytes; record 0 has ${this.bytes}. All records must have the same size.`);
    }
    this.count += 1;
    this.bits += bits;
    this.least = Math.min(this.least, bits);
    this.most = Math.max(this.most, bits);
    if (bits === 0) this.empty += 1;
    if (this.seen.size < COUNTED_MAX) {
      const digest = (one >>> 0) * 0x200000 + (two >>> 11);
      if (this.seen.has(digest)) this.duplicates += 1;
      else this.seen.add(digest);
    }
  }
}

// Decodes base64 as the server does: spaces and line ends are skipped.
function decode(text, record, out) {
  let [held, bits, length, padding] = [0, 0, 0, 0];
  for (let at = 0; at < text.length; at += 1) {
    const byte = text[at];
    const value = BASE64[byte];
    if (value < 0) {
      if (byte === 61) padding += 1;
      else if (byte > 32) throw new Fault(`Record ${record} is not base64 (standard alphabet, padded).`);
      continue;
    }
    if (padding) throw new Fault(`Record ${record} has characters after its padding.`);
    held = (held << 6 | value) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[length] = held >> bits & 255;
      length += 1;
    }
  }
  if ((bits + 6 * padding) % 8 || padding > 2 || length === 0) throw new Fault(`Record ${record} is not complete base64.`);
  return out.subarray(0, length);
}

// Reads JSON of any size, byte by byte, and calls `on` for each value with the path that leads to it.
class Json {
  stack = [];
  parts = [];
  inText = false;
  escaped = false;
  hasEscape = false;
  key = null;
  ended = false;
  wantsKey = false;

  constructor(on) { this.on = on; }

  feed(bytes) {
    let at = 0;
    this.slash = -1;
    while (at < bytes.length) {
      if (this.inText) {
        at = this.text(bytes, at);
        continue;
      }
      const byte = bytes[at];
      if (byte > 32 && this.ended) throw new Fault('The file is not JSON: something follows its end.');
      if (byte === 34) {
        this.inText = true;
        this.parts = [];
        this.hasEscape = false;
        at += 1;
        continue;
      }
      if (byte === 123 || byte === 91) this.enter(byte === 123);
      else if (byte === 125 || byte === 93) this.leave(byte === 125);
      else if (byte === 44) this.comma();
      else if (byte === 58) this.wantsKey = false;
      else if (byte > 32) {
        let end = at + 1;
        while (end < bytes.length && ![44, 93, 125, 32, 10, 13, 9].includes(bytes[end])) end += 1;
        this.on.other?.(this, bytes[at]);
        at = end;
        continue;
      }
      at += 1;
    }
  }

  text(bytes, from) {
    if (this.escaped) {
      this.escaped = false;
      this.parts.push(bytes.slice(from, from + 1));
      return from + 1;
    }
    const quote = bytes.indexOf(34, from);
    // Backslashes are rare: the next one is searched for once, not for each string.
    if (this.slash < from) {
      const found = bytes.indexOf(92, from);
      this.slash = found < 0 ? Infinity : found;
    }
    const { slash } = this;
    if (slash < Infinity && (quote < 0 || slash < quote)) {
      this.hasEscape = this.escaped = true;
      this.parts.push(bytes.slice(from, slash + 1));
      return slash + 1;
    }
    if (quote < 0) {
      this.parts.push(bytes.slice(from));
      return bytes.length;
    }
    this.parts.push(bytes.subarray(from, quote));
    this.inText = false;
    this.string(join(this.parts));
    return quote + 1;
  }

  string(raw) {
    let value = raw;
    if (this.hasEscape) {
      let text;
      try {
        text = JSON.parse(`"${new TextDecoder().decode(raw)}"`);
      } catch {
        throw new Fault('The file is not JSON: a string has an invalid escape.');
      }
      value = new TextEncoder().encode(text);
    }
    const top = this.stack.at(-1);
    if (top?.isObject && this.wantsKey) {
      this.key = new TextDecoder().decode(value);
      top.key = this.key;
    } else this.on.string(this, value);
  }

  enter(isObject) {
    this.on.enter?.(this, isObject);
    this.stack.push({ isObject, key: null, count: 0 });
    this.wantsKey = isObject;
  }

  leave(isObject) {
    const left = this.stack.pop();
    if (left?.isObject !== isObject) throw new Fault('The file is not JSON: its brackets do not match.');
    this.on.leave?.(this, left);
    this.ended = this.stack.length === 0;
    this.wantsKey = false;
  }

  comma() {
    const top = this.stack.at(-1);
    if (!top) throw new Fault('The file is not JSON: a comma is outside of objects and arrays.');
    this.wantsKey = top.isObject;
  }

  finish() {
    if (!this.ended) throw new Fault('The file ends in the middle: it is not complete.');
  }
}

function join(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// Collects encodings and blocks from a document of any of the three forms.
class Document {
  shape = null;
  members = new Set();
  blocks = new Map();
  unblocked = 0;
  inBlocks = 0;
  row = new Uint8Array(1 << 17);
  utf8 = new TextDecoder();

  constructor(encodings) {
    this.encodings = encodings;
    this.json = new Json(this);
  }

  member() { return this.json.stack[0]?.key; }

  enter(json, isObject) {
    const depth = json.stack.length;
    if (depth === 0 && !isObject) throw new Fault('The file is a JSON array; the server expects an object with the member "clks".');
    if (depth !== 1) {
      if (depth === 2 && this.member() === 'clknblocks') this.names = -1;
      return;
    }
    const member = this.member();
    if (!['clks', 'clknblocks', 'encodings', 'blocks'].includes(member)) return;
    if (this.members.has(member)) throw new Fault(`The member "${member}" occurs twice.`);
    this.members.add(member);
    if (member !== 'blocks') {
      if (isObject) throw new Fault(`The member "${member}" names a file in an object store; choose that file itself.`);
      this.shape = member;
    }
  }

  string(json, value) {
    const depth = json.stack.length;
    const member = this.member();
    if (depth === 2 && (member === 'clks' || member === 'encodings')) this.encoding(value);
    else if (depth === 3 && member === 'clknblocks') {
      this.names += 1;
      if (this.names === 0) this.encoding(value);
      else this.block(this.utf8.decode(value));
    } else if (depth === 3 && member === 'blocks') this.block(this.utf8.decode(value));
  }

  other(json, byte) {
    const depth = json.stack.length;
    const member = this.member();
    if (depth === 2 && (member === 'clks' || member === 'encodings')) throw new Fault(`Record ${this.encodings.count} is not a string.`);
    if (depth !== 3 || !['clknblocks', 'blocks'].includes(member)) return;
    if (byte !== 45 && (byte < 48 || byte > 57)) throw new Fault('The name of a block is neither a string nor a number.');
    this.names += 1;
    this.block(null);
  }

  leave(json, left) {
    const depth = json.stack.length;
    if (depth !== 2 || left.isObject) return;
    if (this.member() === 'clknblocks' && this.names === 0) this.unblocked += 1;
  }

  encoding(value) {
    this.encodings.add(decode(value, this.encodings.count, this.row));
  }

  block(name) {
    this.inBlocks += 1;
    if (name !== null && (this.blocks.size < 1_000_000 || this.blocks.has(name))) {
      this.blocks.set(name, (this.blocks.get(name) ?? 0) + 1);
    }
  }
}

// Counts rows and columns of a table.
class Table {
  rows = 0;
  columns = 0;
  uneven = 0;
  quoted = false;
  fields = 1;
  filled = false;
  head = [];
  separator = null;

  feed(bytes) {
    this.separator ??= [44, 59, 9].find((byte) => bytes.subarray(0, 2048).includes(byte)) ?? 44;
    for (const byte of bytes) {
      if (byte === 34) this.quoted = !this.quoted;
      if (this.rows === 0 && byte !== 10 && byte !== 13) this.head.push(byte);
      if (this.quoted) this.filled = true;
      else if (byte === this.separator) this.fields += 1;
      else if (byte === 10) this.line();
      else if (byte > 32) this.filled = true;
    }
  }

  line() {
    if (this.filled || this.fields > 1) {
      if (this.rows === 0) this.columns = this.fields;
      else if (this.fields !== this.columns) this.uneven += 1;
      this.rows += 1;
    }
    this.fields = 1;
    this.filled = false;
  }
}

// Returns the kind of a file, by its beginning: `json`, `table` or `bytes`.
async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, 4096).arrayBuffer());
  const isText = head.every((byte) => byte >= 32 || [9, 10, 13].includes(byte));
  const first = head.find((byte) => byte > 32 && ![0xef, 0xbb, 0xbf].includes(byte));
  if (isText && [91, 123].includes(first)) return 'json';
  return isText && head.includes(10) ? 'table' : 'bytes';
}

// Reads a file to its end. `wish` has: bytes (required size, or 0), hashSize, progress(done, total), isStale().
export async function scan(file, wish) {
  if (file.size === 0) throw new Fault('The file is empty.');
  const kind = await kindOf(file);
  const encodings = new Encodings(wish.bytes);
  const document = kind === 'json' ? new Document(encodings) : null;
  const table = kind === 'table' ? new Table() : null;
  if (kind === 'bytes' && file.size % wish.hashSize) {
    throw Object.assign(new Fault(`The file has ${file.size} bytes: that is not a multiple of ${wish.hashSize}.`), { kind });
  }
  let rest = new Uint8Array(0);
  for (let at = 0; at < file.size; at += SLICE) {
    let bytes = new Uint8Array(await file.slice(at, at + SLICE).arrayBuffer());
    if (wish.isStale()) return null;
    if (at === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && kind !== 'bytes') bytes = bytes.subarray(3);
    if (document) document.json.feed(bytes);
    else if (table) table.feed(bytes);
    else {
      const whole = join([rest, bytes]);
      let from = 0;
      for (; from + wish.hashSize <= whole.length; from += wish.hashSize) {
        encodings.add(whole.subarray(from, from + wish.hashSize));
      }
      rest = whole.slice(from);
    }
    wish.progress(Math.min(file.size, at + SLICE), file.size);
  }
  document?.json.finish();
  table?.line();
  encodings.seen.clear();
  if (document && !document.shape) throw new Fault('The file has none of the members "clks", "clknblocks" and "encodings".');
  if (!table && encodings.count === 0) throw new Fault('The file has no encodings.');
  return { kind, encodings, document, table };
}
