// The behaviour of the pages: they load views with a token, keep them up to date, and send forms.

import { follow } from './live.js';
import * as tokens from './tokens.js';
import { begin as beginUpload } from './upload.js';

const { ask, isId, root } = tokens;
const find = (selector, within = document) => within.querySelector(selector);
const view = find('#view');
// The page of the operator is on another listener, and uses one token for everything.
const operates = view?.dataset.page === 'operator';
const [views, lives] = ['view', 'live'].map((kind) => `${operates ? 'admin/' : ''}dashboard/${kind}/`);
let unfollow = () => {};

// ---- Views

function nodes(html) {
  return [...new DOMParser().parseFromString(html, 'text/html').body.childNodes];
}

function localize(within) {
  const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  for (const time of within.querySelectorAll('time')) {
    time.title = time.textContent;
    time.textContent = zoned.format(new Date(time.dateTime));
  }
}

// Puts HTML into an element. What has the focus, was scrolled or unfolded stays so.
function put(element, html) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : '';
  const boxes = () => [...element.querySelectorAll('.scroll, details')];
  const kept = boxes().map(({ scrollLeft, open }) => ({ scrollLeft, open }));
  element.replaceChildren(...nodes(html));
  localize(element);
  boxes().forEach((box, at) => Object.assign(box, kept[at]));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function say(words) {
  const place = find('#announcer');
  if (place.textContent !== words) place.textContent = words;
}

function complain(near, error) {
  const place = find('.error', near.closest('form, section, .card') ?? document);
  if (!place) return say(error.message);
  place.textContent = error.message;
  place.hidden = false;
}

function connection(state) {
  const words = { live: 'Live', paused: 'Paused', disconnected: 'Disconnected: trying again', over: '' };
  const place = find('#connection');
  place.textContent = words[state];
  place.dataset.state = state;
}

// ---- The current page

function here() {
  const query = new URLSearchParams(location.search);
  const project = operates ? 'operator' : query.get('id') ?? query.get('project');
  const run = query.get('run');
  ['id', 'project', 'run'].forEach((name) => query.delete(name));
  const rest = query.size ? `?${query}` : '';
  return { project, run, rest };
}

function path({ project, run }) {
  if (operates) return 'operator';
  return view.dataset.page === 'run' ? `projects/${project}/runs/${run}` : `projects/${project}`;
}

async function show() {
  const place = here();
  const isWhole = operates || isId(place.project) && (view.dataset.page !== 'run' || isId(place.run));
  if (!isWhole) return broken(new Error('This URL does not name a project. Open the link that you were given.'));
  const secret = tokens.token(place.project);
  if (!secret) return askToken(operates ? 'This page needs the admin token, which the server printed at its first start.' : 'This page needs the token of the project.');
  try {
    const response = await ask(`${views}${path(place)}${place.rest}`, secret);
    render(await response.text(), place, secret);
  } catch (error) {
    if ([401, 403].includes(error.status)) {
      // A run may be deleted while its project is there.
      if (!place.run) tokens.forget(place.project);
      askToken('The token has no access, or the project or run no longer exists.');
    } else broken(error);
  }
}

function broken(error) {
  const text = document.createElement('p');
  text.className = 'fault';
  text.setAttribute('role', 'alert');
  text.textContent = error.message;
  const again = Object.assign(document.createElement('button'), { textContent: 'Try again', onclick: () => location.reload() });
  view.replaceChildren(text, again);
  view.removeAttribute('aria-busy');
}

function askToken(why) {
  unfollow();
  connection('over');
  view.replaceChildren();
  find('#token-why').textContent = why;
  find('#token-form').hidden = false;
  find('#token-form input').focus();
}

function render(html, place, secret) {
  unfollow();
  put(view, html);
  view.removeAttribute('aria-busy');
  find('#token-form').hidden = true;
  find('#forget').hidden = false;
  const title = find('[data-title]')?.textContent ?? '';
  document.title = `${title.slice(0, 80)} · entityd`;
  showHandout(place.project);
  refresh();
  const upload = find('#upload');
  if (upload) beginUpload(upload, secret, () => {
    unfollow();
    connection('over');
  });
  const live = find('#live');
  if (live) unfollow = followed(live, place, secret);
}

function followed(live, place, secret) {
  let state = find('[data-state]', live)?.dataset.state;
  return follow(`${lives}${live.dataset.live}${place.rest}`, secret, {
    state: connection,
    refused: () => askToken('The token no longer has access.'),
    event(name, html) {
      if (name === 'gone') {
        connection('over');
        return broken(new Error('The project or run has been deleted.'));
      }
      html.split('<!--part-->').forEach((part, at) => put(find(`#live${at || ''}`), part));
      say(find('[data-announce]', live)?.textContent ?? '');
      const now = find('[data-state]', live)?.dataset.state;
      if (view.dataset.page === 'run' && now !== state && ['completed', 'failed'].includes(now)) show();
      if (operates && now !== state) refresh();
      state = now;
    },
  });
}

function refresh() {
  for (const late of view.querySelectorAll('[data-now]')) load(late.dataset.now + here().rest, late);
}

// ---- Links to pass on

function showHandout(project) {
  const links = tokens.handout(project);
  const list = find('.handout');
  if (!list || links.length === 0) return;
  for (const [label, secret] of links) {
    const item = document.createElement('li');
    const box = document.createElement('label');
    const field = document.createElement('input');
    Object.assign(field, { type: 'password', readOnly: true, value: tokens.link(project, secret), autocomplete: 'off' });
    box.append(label, field);
    item.append(box, button('Copy', label, () => copy(field)), button('Show', label, (self) => {
      field.type = field.type === 'text' ? 'password' : 'text';
      self.firstChild.textContent = field.type === 'text' ? 'Hide' : 'Show';
    }));
    list.append(item);
  }
  list.closest('section').hidden = false;
}

function button(text, about, act) {
  const made = document.createElement('button');
  Object.assign(made, { type: 'button', className: 'quiet', onclick: () => act(made) });
  made.append(text, Object.assign(document.createElement('span'), { className: 'sr', textContent: ` the link: ${about}` }));
  return made;
}

async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    const kind = field.type;
    field.type = 'text';
    field.select();
    document.execCommand('copy');
    field.type = kind;
  }
  say('Copied.');
}

// ---- Actions

async function load(what, into) {
  const { project } = here();
  into.setAttribute('aria-busy', 'true');
  try {
    const response = await ask(views + what, tokens.token(project));
    put(into, await response.text());
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    complain(into, error);
  }
  into.removeAttribute('aria-busy');
}

// Asks once; true if it is confirmed.
function confirmed(title, text, act) {
  const dialog = find('#confirm');
  find('#confirm-title').textContent = title;
  find('#confirm-text').textContent = text;
  find('#confirm-yes').textContent = act;
  return new Promise((resolve) => {
    find('#confirm-yes').onclick = () => dialog.close('yes');
    find('#confirm-no').onclick = () => dialog.close('no');
    dialog.returnValue = '';
    dialog.onclose = () => resolve(dialog.returnValue === 'yes');
    dialog.showModal();
    find('#confirm-no').focus();
  });
}

async function remove(act) {
  const { title, confirm, then } = act.dataset;
  if (!(await confirmed(title, confirm, act.textContent))) return;
  const { project } = here();
  const what = act.dataset.delete;
  unfollow();
  try {
    await ask(`api/v1/${what}`, tokens.token(project), { method: 'DELETE' });
    if (what === `projects/${project}`) tokens.forget(project);
    location.assign(then);
  } catch (error) {
    complain(act, error);
  }
}

// An action of the operator.
async function administer(button) {
  const { act, body, method = 'POST', title, confirm, then } = button.dataset;
  if (confirm && !(await confirmed(title, confirm, button.firstChild.textContent))) return;
  try {
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    await ask(`admin/${act}`, tokens.token(here().project), { method, body, headers });
    say('Done.');
    if (then) refresh();
    else load('acts', find('#acts'));
  } catch (error) {
    complain(button, error);
  }
}

async function download(act) {
  const { project } = here();
  act.disabled = true;
  try {
    const headers = { Accept: act.dataset.accept };
    const response = await ask(`api/v1/${act.dataset.download}`, tokens.token(project), { headers });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await response.blob());
    link.download = act.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    complain(act, error);
  }
  act.disabled = false;
}

async function post(form) {
  const body = {};
  for (const field of form.elements) {
    const { name, type, checked, value, dataset } = field;
    if (name) body[name] = type === 'checkbox' ? checked : 'number' in dataset ? Number(value) : value;
  }
  const { project } = here();
  const response = await send(form, `api/v1/${form.dataset.post}`, tokens.token(project), JSON.stringify(body));
  if (response) location.assign(form.dataset.then + response.run_id);
}

async function send(form, to, secret, body) {
  const submit = find('[type=submit]', form);
  submit.disabled = true;
  try {
    const headers = { 'Content-Type': 'application/json' };
    return await (await ask(to, secret, { method: 'POST', headers, body })).json();
  } catch (error) {
    complain(submit, error);
  }
  submit.disabled = false;
  return null;
}

async function create(form) {
  const { name, notes, number_parties: parties, uses_blocking: blocking, schema, admin } = form.elements;
  try {
    JSON.parse(schema.value);
  } catch (error) {
    complain(schema, new Error(`The linkage schema is not JSON: ${error.message}`));
    return schema.focus();
  }
  const rest = JSON.stringify({
    name: name.value,
    notes: notes.value,
    result_type: form.elements.result_type.value,
    number_parties: Number(parties.value),
    uses_blocking: blocking.checked,
  });
  // The schema is sent as it is written: its numbers may have more digits than a browser keeps.
  const body = `{"schema":${schema.value},${rest.slice(1)}`;
  const made = await send(form, 'api/v1/projects', admin?.value, body);
  if (!made) return;
  const parts = made.update_tokens.map((secret, party) => [`Dataset ${party}, for its party`, secret]);
  tokens.keep(made.project_id, made.result_token);
  tokens.keepHandout(made.project_id, [...parts, ['Analyst, for yourself', made.result_token]]);
  location.assign(`project?id=${made.project_id}`);
}

function open(form) {
  const { project, token } = form.elements;
  const found = tokens.parse(project.value);
  const secret = found.token ?? token.value;
  if (!isId(found.project)) return complain(project, new Error('This is neither a link nor a project identifier: an identifier has 48 characters, digits or letters a to f.'));
  if (!secret) return complain(token, new Error('The token is missing.'));
  tokens.keep(found.project, secret);
  form.reset();
  location.assign(new URL(`dashboard/project?id=${found.project}`, root));
}

const FORMS = {
  'open-form': open,
  'new-form': create,
  'token-form': (form) => {
    tokens.keep(here().project, form.elements.token.value);
    form.reset();
    show();
  },
};

document.addEventListener('submit', (event) => {
  event.preventDefault();
  const error = find('.error', event.target);
  if (error) error.hidden = true;
  (FORMS[event.target.id] ?? post)(event.target);
});

document.addEventListener('click', (event) => {
  const act = event.target.closest('button');
  if (!act) return;
  if (act.dataset.delete) remove(act);
  else if (act.dataset.act) administer(act);
  else if (act.dataset.download) download(act);
  else if (act.dataset.load) load(act.dataset.load, document.getElementById(act.dataset.into));
  else if (act.id === 'forget') {
    sessionStorage.clear();
    location.assign(root);
  }
});

find('#schema-file')?.addEventListener('change', async (event) => {
  const [file] = event.target.files;
  if (file) find('[name=schema]').value = await file.text();
});

// ---- Start

function arrive() {
  const found = tokens.fromAddress();
  if (!found) return false;
  if (isId(found.project) && found.token) {
    tokens.keep(found.project, found.token);
    location.replace(new URL(`dashboard/project?id=${found.project}`, root));
    return true;
  }
  const field = find('#open-form [name=token]');
  if (field) {
    field.value = found.token ?? '';
    find('#open-form [name=project]').focus();
  }
  return false;
}

window.addEventListener('hashchange', arrive);
if (!arrive() && view) show();
