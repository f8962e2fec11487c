// Tokens: kept only in this tab, and sent only in the header Authorization.

export const root = new URL('../', import.meta.url);

const kept = (kind, project) => `entityd:${kind}:${project}`;
const HEX = /^[0-9a-f]{48}$/;

export const isId = (text) => HEX.test(text ?? '');

export function token(project) {
  return sessionStorage.getItem(kept('token', project));
}

export function keep(project, secret) {
  // A pasted token may have characters around it that no token has.
  sessionStorage.setItem(kept('token', project), secret.replace(/[^!-~]/g, ''));
}

// Links that this tab can pass on: pairs of a label and a token.
export function handout(project) {
  return JSON.parse(sessionStorage.getItem(kept('links', project)) ?? '[]');
}

export function keepHandout(project, links) {
  sessionStorage.setItem(kept('links', project), JSON.stringify(links));
}

export function forget(project) {
  sessionStorage.removeItem(kept('token', project));
  sessionStorage.removeItem(kept('links', project));
}

export function link(project, secret) {
  return new URL(`#token=${secret}&project=${project}`, root).href;
}

// Reads a link, or the part of it that was pasted; returns the token and the project if it has them.
export function parse(text) {
  const words = new URLSearchParams(text.includes('#') ? text.slice(text.indexOf('#') + 1) : '');
  const project = (words.get('project') ?? text).match(/[0-9a-f]{48}/)?.[0];
  return { token: words.get('token'), project };
}

// Removes a token from the URL at once.
export function fromAddress() {
  if (!location.hash.startsWith('#token=')) return null;
  const found = parse(location.hash);
  history.replaceState(null, '', location.pathname + location.search);
  const query = new URLSearchParams(location.search);
  found.project ??= query.get('id') ?? query.get('project');
  return found;
}

// Sends a request; an error response becomes an error with the server's message.
export async function ask(path, secret, options = {}) {
  const headers = { ...options.headers };
  if (secret) headers.Authorization = secret;
  let response;
  try {
    response = await fetch(new URL(path, root), { ...options, headers, cache: 'no-store' });
  } catch (cause) {
    if (cause.name === 'AbortError') throw cause;
    throw Object.assign(new Error('The server cannot be reached.'), { status: 0 });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const told = problem.detail ?? `The server answered ${response.status}.`;
  throw Object.assign(new Error(told), { status: response.status });
}
