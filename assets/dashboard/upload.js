// The page of a data provider: checks a file, sends it, and shows the receipt.

import { Fault, scan } from './scan.js';
import * as tokens from './tokens.js';

const ATTEMPTS = 8;
const PASSING = [0, 408, 409, 502, 503, 504];
// A proxy may forward a part only after receiving it completely.
const PART = 16 << 20;
const STOPPED = 'Stopped. What has arrived is kept for a while: send again to continue.';
const whole = new Intl.NumberFormat('en');
const find = (selector) => document.querySelector(selector);

function size(bytes) {
  const unit = Math.min(4, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  const number = bytes / 2 ** (10 * unit);
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

export function begin(section, secret, quieten) {
  const { project, bytes } = section.dataset;
  const blocking = section.dataset.blocking === 'true';
  let turn = 0;
  let chosen = null;
  let found = null;
  let request = null;
  const memory = `upload ${project}`;

  async function check(file) {
    const mine = turn += 1;
    chosen = file;
    found = null;
    const state = find('#check-state');
    for (const id of ['#send', '#encode', '#check-fault', '#send-fault', '#binary']) find(id).hidden = true;
    find('#check').hidden = false;
    find('#findings').replaceChildren();
    find('#remarks').replaceChildren();
    const begun = performance.now();
    const progress = (done, total) => {
      find('#check-bar').value = done / (total || 1);
      const seconds = Math.max(0.001, (performance.now() - begun) / 1000);
      state.textContent = `${file.name.slice(0, 80)}: ${size(done)} of ${size(total)}, ${size(done / seconds)}/s`;
    };
    progress(0, file.size);
    try {
      const result = await scan(file, {
        bytes: Number(bytes) || 0,
        hashSize: Number(find('#hash-size').value) || 128,
        progress,
        isStale: () => mine !== turn,
      });
      if (!result) return;
      found = result;
      tell(result);
    } catch (error) {
      if (mine !== turn) return;
      find('#binary').hidden = error.kind !== 'bytes';
      fault('#check-fault', error instanceof Fault ? error.message : `The file cannot be read: ${error.message}`);
    }
  }

  function tell({ kind, encodings, document: json, table }) {
    const tiles = [];
    const remarks = [];
    const remark = (number, text) => { if (number) remarks.push(`${text}: ${whole.format(number)}.`); };
    if (table) {
      tiles.push(['Rows', table.rows - 1], ['Columns', table.columns]);
      remark(table.uneven, 'Rows with another number of columns than the first');
      if (table.quoted) remarks.push('A quotation mark is not closed.');
      find('#encode').hidden = false;
    } else {
      tiles.push(['Records', encodings.count], ['Bits', 8 * encodings.bytes]);
      tiles.push(['Bits set: fewest', encodings.least], ['Bits set: mean', Math.round(encodings.bits / encodings.count)], ['Bits set: most', encodings.most]);
      remark(encodings.empty, 'Encodings without any bit set, which match nothing');
      remark(encodings.duplicates, 'Encodings that are equal to an earlier one');
      find('#binary').hidden = kind !== 'bytes';
      const hasBlocks = json && (json.shape === 'clknblocks' || json.members.has('blocks'));
      if (hasBlocks) {
        tiles.push(['Blocks', json.blocks.size]);
        const largest = Math.max(0, ...[...json.blocks.values()].slice(0, 100_000));
        if (largest) tiles.push(['Largest block', largest]);
        remark(json.unblocked, 'Records in no block, which match nothing');
      }
      if (blocking && !hasBlocks && kind === 'json') return fault('#check-fault', 'The project uses blocking; this file has no blocks.');
      if (!blocking && hasBlocks) return fault('#check-fault', 'The project does not use blocking; this file has blocks.');
      if (blocking && kind === 'bytes') remarks.push('A binary file has no blocks: every record is compared with all records of the other parties.');
      if (begun()) remarks.push('A part of this file has been sent before: sending continues there.');
      find('#send').hidden = false;
    }
    const tile = ([label, number]) => {
      const box = document.createElement('div');
      const term = document.createElement('dt');
      const value = document.createElement('dd');
      term.textContent = label;
      value.textContent = whole.format(number);
      box.append(term, value);
      return box;
    };
    find('#findings').replaceChildren(...tiles.map(tile));
    find('#remarks').replaceChildren(...remarks.map((text) => Object.assign(document.createElement('li'), { textContent: text })));
    find('#check-state').textContent += table ? '. Checked: this file is not sent.' : '. Checked: it can be sent.';
  }

  function fault(where, text) {
    find(where).textContent = text;
    find(where).hidden = false;
  }

  // One request. Resolves with it once it has succeeded; rejects with an error that has the status, or 0 without an answer.
  function call(method, path, headers = {}, body = null, progress = null) {
    return new Promise((resolve, reject) => {
      const fail = (text, status) => reject(Object.assign(new Error(text), { status }));
      request = new XMLHttpRequest();
      const mine = request;
      mine.open(method, new URL(`api/v1/projects/${project}/${path}`, tokens.root));
      for (const [name, value] of Object.entries({ Authorization: secret, ...headers })) mine.setRequestHeader(name, value);
      if (progress) mine.upload.onprogress = progress;
      mine.onload = () => {
        if (mine.status < 300) return resolve(mine);
        let said = null;
        try {
          said = JSON.parse(mine.responseText).detail;
        } catch { /* The status says enough. */ }
        return fail(said ?? `The server answered ${mine.status}.`, mine.status);
      };
      mine.onerror = () => fail('The connection was lost.', 0);
      mine.onabort = () => fail(STOPPED, -1);
      mine.send(body);
    });
  }

  async function begin() {
    const isBinary = found.kind === 'bytes';
    const headers = { 'Content-Type': isBinary ? 'application/octet-stream' : 'application/json', 'Upload-Complete': '?0', 'Upload-Length': chosen.size };
    if (isBinary) Object.assign(headers, { 'Hash-Count': found.encodings.count, 'Hash-Size': found.encodings.bytes });
    const made = await call('POST', isBinary ? 'binaryclks' : 'clks', headers);
    return made.getResponseHeader('Location').split('/').at(-1);
  }

  function mark() {
    return [chosen.name, chosen.size, chosen.lastModified, found.kind, found.encodings.bits].join();
  }

  // The upload of this file that was begun before, if there is one.
  function begun() {
    const [kept, id] = JSON.parse(sessionStorage.getItem(memory) ?? '[]');
    return kept === mark() ? id : null;
  }

  // Sends what the server does not have yet, and returns its answer. The address of the upload is kept, so that the same file
  // is continued after the page was reloaded.
  async function rest(advanced) {
    const total = chosen.size;
    let id = begun();
    let at = 0;
    if (id) at = Number((await call('HEAD', `uploads/${id}`)).getResponseHeader('Upload-Offset'));
    else {
      id = await begin();
      sessionStorage.setItem(memory, JSON.stringify([mark(), id]));
    }
    advanced(at);
    const [first, start] = [at, performance.now()];
    for (;;) {
      const from = at;
      const end = Math.min(total, from + PART);
      const show = ({ loaded }) => {
        const done = Math.min(total, from + loaded);
        const rate = (done - first) / Math.max(0.001, (performance.now() - start) / 1000);
        find('#send-bar').value = done / total;
        const line = `${size(done)} of ${size(total)}, ${size(rate)}/s, ${Math.ceil((total - done) / (rate || 1))} s left`;
        find('#send-state').textContent = done < total ? line : 'Sent. The server is checking it.';
      };
      const headers = { 'Content-Type': 'application/partial-upload', 'Upload-Offset': from, 'Upload-Complete': `?${Number(end === total)}` };
      const sent = await call('PATCH', `uploads/${id}`, headers, chosen.slice(from, end), show);
      if (sent.status === 201) return JSON.parse(sent.responseText);
      at = end;
      advanced(at);
    }
  }

  async function send() {
    let [stopped, reached] = [false, 0];
    quieten();
    find('#send-fault').hidden = true;
    find('#send-line').hidden = false;
    find('#send-button').disabled = true;
    find('#send-stop').hidden = false;
    find('#send-stop').onclick = () => {
      stopped = true;
      request?.abort();
    };
    for (let count = 0; ; count += 1) {
      try {
        const answer = await rest((at) => {
          if (at > reached) [reached, count] = [at, 0];
        });
        sessionStorage.removeItem(memory);
        tokens.keep(project, answer.receipt_token);
        tokens.keepHandout(project, [['Your receipt', answer.receipt_token]]);
        return location.reload();
      } catch (error) {
        const isGone = [404, 421].includes(error.status);
        if (isGone || error.status >= 400 && ![408, 409].includes(error.status) && error.status < 500) sessionStorage.removeItem(memory);
        const mayPass = !stopped && (isGone || PASSING.includes(error.status)) && count + 1 < ATTEMPTS;
        if (!mayPass) {
          fault('#send-fault', stopped ? STOPPED : error.message);
          break;
        }
        const pause = Math.min(30, 2 ** count);
        find('#send-state').textContent = `${error.message} Attempt ${count + 2} of ${ATTEMPTS} in ${pause} s.`;
        await new Promise((resolve) => { setTimeout(resolve, pause * 1000); });
        if (stopped) {
          fault('#send-fault', STOPPED);
          break;
        }
      }
    }
    find('#send-line').hidden = true;
    find('#send-stop').hidden = true;
    find('#send-button').disabled = false;
  }

  const drop = find('#drop');
  const over = (isOver) => (event) => {
    event.preventDefault();
    drop.classList.toggle('over', isOver);
  };
  drop.addEventListener('dragover', over(true));
  drop.addEventListener('dragleave', over(false));
  drop.addEventListener('drop', (event) => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) check(file);
  });
  find('#file').addEventListener('change', (event) => {
    const [file] = event.target.files;
    if (file) check(file);
  });
  find('#recheck').addEventListener('click', () => chosen && check(chosen));
  find('#send-button').addEventListener('click', send);
}
