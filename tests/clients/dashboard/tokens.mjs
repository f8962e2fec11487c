// Tokens that give no access: of another project, of a deleted one, used, and replaced. Each page says so, and keeps
// none of them.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, project, tokens } = JSON.parse(process.env.SCENE);
const chromium = await browser();
Object.values(tokens).forEach((token) => Person.secrets.add(token));
const person = await Person.come(chromium, { origins: [new URL(root).origin] });
const { page } = person;
const kept = () => page.evaluate(() => JSON.stringify(sessionStorage));
const open = async (token) => {
  await page.goto(root);
  await page.goto(`${root}#token=${token}&project=${project}`);
};
const refused = async (token) => {
  await page.getByText('The token has no access').waitFor();
  assert.ok(!(await kept()).includes(token), 'a token that grants nothing is kept');
};

// A token of another project, and one that a later receipt has replaced.
for (const name of ['foreign', 'replaced']) {
  await open(tokens[name]);
  await refused(tokens[name]);
  await person.look(`token-${name}`);
}

// The right token in the same form opens the page.
await page.getByLabel('Token').fill(` \u201C${tokens.owner}\u00A0\u201D `);
await page.keyboard.press('Enter');
await page.getByRole('heading', { level: 2, name: 'New run' }).waitFor();
assert.ok((await kept()).includes(`"${tokens.owner}"`));

// A run that does not exist takes nothing from its project.
await page.goto(`${root}dashboard/run?project=${project}&run=${'1'.repeat(48)}`);
await page.getByText('the project or run no longer exists').waitFor();
await page.goto(`${root}dashboard/project?id=${project}`);
await page.getByRole('heading', { level: 2, name: 'New run' }).waitFor();

// The page of a used update token says so, and offers no upload.
await open(tokens.used);
await page.getByText('This link has been used').waitFor();
assert.equal(await page.locator('#file').count(), 0);

// The project is deleted by its owner while the page is open; then its token has expired.
await open(tokens.owner);
await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
const deleted = await fetch(`${root}api/v1/projects/${project}`, { method: 'DELETE', headers: { Authorization: tokens.owner } });
assert.equal(deleted.status, 204);
await page.getByText('The project or run has been deleted.').waitFor();
await page.reload();
await refused(tokens.owner);
await person.look('token-expired');
settle();
await chromium.close();
