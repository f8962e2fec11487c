// One stream of events per page. It pauses while the page is hidden, and is opened again when it breaks.

import { ask } from './tokens.js';

const PAUSE_MAX_MS = 30_000;

// Follows a stream until `stop`. `on` has: event(name, data), state(word), refused(error).
export function follow(path, secret, on) {
  let control = null;
  let stopped = false;
  let wake = () => {};

  const visible = () => {
    if (document.hidden) control?.abort();
    else wake();
  };
  document.addEventListener('visibilitychange', visible);

  (async () => {
    let failures = 0;
    while (!stopped) {
      if (document.hidden) {
        on.state('paused');
        await new Promise((resolve) => { wake = resolve; });
        continue;
      }
      control = new AbortController();
      try {
        const response = await ask(path, secret, {
          signal: control.signal,
          headers: { Accept: 'text/event-stream' },
        });
        failures = 0;
        on.state('live');
        if (await read(response.body, on.event)) return;
      } catch (error) {
        if ([401, 403, 404].includes(error.status)) return on.refused(error);
      }
      if (stopped || document.hidden) continue;
      on.state('disconnected');
      failures += 1;
      const pause = Math.min(PAUSE_MAX_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
      await new Promise((resolve) => { wake = resolve; setTimeout(resolve, pause); });
    }
  })();

  return () => {
    stopped = true;
    control?.abort();
    wake();
    document.removeEventListener('visibilitychange', visible);
  };
}

// Reads events until the stream ends; returns true if the stream has announced that no more follow.
async function read(body, event) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    text += value;
    const whole = text.split('\n\n');
    text = whole.pop();
    for (const one of whole) {
      const name = one.match(/^event: (.*)$/m)?.[1];
      const data = one.match(/^data: (.*)$/m)?.[1];
      if (!name) continue;
      event(name, JSON.parse(data));
      if (name === 'gone') return true;
    }
  }
}
