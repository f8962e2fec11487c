// A party whose connection is cut twice while it uploads, and who reloads the page in between. The browser may repeat a part by
// itself, so that both cuts may come before the reload.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, project, token, file, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const provider = await Person.come(chromium, { origins: [new URL(root).origin], width, dark });
const { page } = provider;
Person.secrets.add(token);
await page.goto(`${root}#token=${token}&project=${project}`);
await page.getByRole('heading', { level: 1, name: 'Upload your encodings' }).waitFor();

const choose = async () => {
  await page.setInputFiles('#file', file);
  await page.getByText('Checked: it can be sent.').waitFor();
};
// After the first cut nothing gets through until the page is reloaded. A part that the browser repeats by itself is refused.
let held = false;
page.on('requestfailed', (request) => { held ||= request.method() === 'PATCH'; });
page.on('response', (response) => { held ||= response.request().method() === 'PATCH' && !response.ok(); });
await provider.context.route('**/uploads/*', (route) => (held ? route.abort('connectionreset') : route.fallback()));
await choose();
assert.equal(await page.getByText('has been sent before').count(), 0);
await page.getByRole('button', { name: 'Send the encodings' }).click();
await page.getByText(/Attempt \d+ of/).waitFor();
await page.getByRole('button', { name: 'Stop' }).click();
await page.getByText('What has arrived is kept for a while').waitFor();
await provider.look('upload-stopped');
// What became of the last attempt is not said of a file that is chosen after it.
await page.setInputFiles('#file', { name: 'other.csv', mimeType: 'text/csv', buffer: Buffer.from('a,b\n1,2\n') });
await page.locator('#send-fault').waitFor({ state: 'hidden' });

await page.reload();
held = false;
page.removeAllListeners('requestfailed');
page.removeAllListeners('response');
await choose();
await page.getByText('A part of this file has been sent before').waitFor();
const offsets = [];
page.on('response', (response) => {
  if (response.request().method() === 'HEAD') offsets.push(Number(response.headers()['upload-offset']));
});
await provider.look('upload-continued');
await page.getByRole('button', { name: 'Send the encodings' }).click();
await page.getByRole('heading', { level: 1, name: 'Your upload' }).waitFor();
assert.ok(offsets.length > 0 && offsets[0] > 0, `continued at ${offsets}`);
const kept = await page.evaluate(() => Object.keys(sessionStorage).filter((name) => name.startsWith('upload')));
assert.deepEqual(kept, []);

settle();
await chromium.close();
