// The page of a data provider: a file is checked, sent, and a receipt comes back.

import { Fault, scan } from './scan.js';
import * as tokens from './tokens.js';

const ATTEMPTS = 8;
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

  async function check(file) {
    const mine = turn += 1;
    chosen = file;
    found = null;
    const state = find('#check-state');
    for (const id of ['#send', '#encode', '#check-fault', '#binary']) find(id).hidden = true;
    find('#check').hidden = false;
    find('#findings').replaceChildren();
    find('#remarks').replaceChildren();
    const begun = performance.now();
    const progress = (done, total) => {
      find('#check-bar').value = done / total;
      const seconds = Math.max(0.001, (performance.now() - begun) / 1000);
      state.textContent = `${file.name.slice(0, 80)}: ${size(done)} of ${size(total)}, ${size(done / seconds)}/s`;
    };
    progress(0, file.size || 1);
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
    const remark = (number, text) => { if (number) remarks.push(`${whole.format(number)} ${text}`); };
    if (table) {
      tiles.push(['Rows', table.rows - 1], ['Columns', table.columns]);
      remark(table.uneven, 'rows have another number of columns than the first.');
      if (table.quoted) remarks.push('A quotation mark is not closed.');
      find('#encode').hidden = false;
    } else {
      tiles.push(['Records', encodings.count], ['Bits', 8 * encodings.bytes]);
      tiles.push(['Bits set, least', encodings.least], ['mean', Math.round(encodings.bits / encodings.count)], ['most', encodings.most]);
      remark(encodings.empty, 'encodings have no bit set: they match nothing.');
      remark(encodings.duplicates, 'encodings are equal to an earlier one.');
      find('#binary').hidden = kind !== 'bytes';
      const hasBlocks = json && (json.shape === 'clknblocks' || json.members.has('blocks'));
      if (hasBlocks) {
        tiles.push(['Blocks', json.blocks.size]);
        const largest = Math.max(0, ...[...json.blocks.values()].slice(0, 100_000));
        if (largest) tiles.push(['Largest block', largest]);
        remark(json.unblocked, 'records are in no block: they match nothing.');
      }
      if (blocking && !hasBlocks && kind === 'json') return fault('#check-fault', 'The project uses blocking; this file has no blocks.');
      if (!blocking && hasBlocks) return fault('#check-fault', 'The project does not use blocking; this file has blocks.');
      if (blocking && kind === 'bytes') remarks.push('Bytes have no blocks: all records are compared with all.');
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

  // One attempt; resolves with the answer, rejects with an error that has the status, or 0 without an answer.
  function attempt(again, running) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const isBinary = found.kind === 'bytes';
      const url = new URL(`api/v1/projects/${project}/${isBinary ? 'binaryclks' : 'clks'}`, tokens.root);
      request.open('POST', url);
      request.setRequestHeader('Authorization', secret);
      request.setRequestHeader('Content-Type', isBinary ? 'application/octet-stream' : 'application/json');
      if (isBinary) {
        request.setRequestHeader('Hash-Count', found.encodings.count);
        request.setRequestHeader('Hash-Size', found.encodings.bytes);
      }
      // The answer to an earlier attempt may have been lost: the same encodings then get another receipt.
      if (again) request.setRequestHeader('Receipt-Again', 'true');
      const begun = performance.now();
      request.upload.onprogress = ({ loaded, total }) => {
        const rate = loaded / Math.max(0.001, (performance.now() - begun) / 1000);
        find('#send-bar').value = loaded / total;
        const left = (total - loaded) / rate;
        find('#send-line').dataset.text = `${size(loaded)} of ${size(total)}, ${size(rate)}/s, ${Math.ceil(left)} s left`;
        find('#send-state').textContent = loaded < total ? find('#send-line').dataset.text : 'Sent. The server checks it.';
      };
      request.onload = () => {
        let answer = {};
        try {
          answer = JSON.parse(request.responseText);
        } catch { /* The status says enough. */ }
        if (request.status === 201) return resolve(answer);
        return reject(Object.assign(new Error(answer.detail ?? `The server answered ${request.status}.`), { status: request.status }));
      };
      request.onerror = () => reject(Object.assign(new Error('The connection was lost.'), { status: 0 }));
      request.onabort = () => reject(Object.assign(new Error('Stopped. Nothing was kept; you may send again.'), { status: -1 }));
      request.send(chosen);
      running(request);
    });
  }

  async function send() {
    let request = null;
    let stopped = false;
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
        const answer = await attempt(count > 0, (now) => { request = now; });
        tokens.keep(project, answer.receipt_token);
        tokens.keepHandout(project, [['Your receipt', answer.receipt_token]]);
        return location.reload();
      } catch (error) {
        const mayPass = !stopped && [0, 502, 503, 504].includes(error.status) && count + 1 < ATTEMPTS;
        if (!mayPass) {
          fault('#send-fault', stopped ? 'Stopped. Nothing was kept; you may send again.' : error.message);
          break;
        }
        const pause = Math.min(30, 2 ** count);
        find('#send-state').textContent = `${error.message} Attempt ${count + 2} of ${ATTEMPTS} in ${pause} s.`;
        await new Promise((resolve) => { setTimeout(resolve, pause * 1000); });
        if (stopped) {
          fault('#send-fault', 'Stopped. Nothing was kept; you may send again.');
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
