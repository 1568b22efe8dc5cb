// The way to the instance: requests with the token where one is asked for, and event streams that
// come back by themselves. EventSource cannot send a token, so streams are read with fetch.

const TOKEN = 'tidemill-token';
const LONGEST_PAUSE_MS = 10_000;

/** Shows the dialog for the token until one is given; one dialog serves all who wait. */
let asked;
function askForToken() {
  asked ??= new Promise((resolve) => {
    const dialog = document.getElementById('token-dialog');
    const field = document.getElementById('token');
    dialog.addEventListener('close', () => {
      sessionStorage.setItem(TOKEN, field.value);
      field.value = '';
      asked = undefined;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asked;
}

/** fetch with the token; asks for one where it is missing or wrong. */
export async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers };
    if (token) headers.authorization = `Bearer ${token}`;
    const answer = await fetch(path, { ...options, headers, cache: 'no-store' });
    if (answer.status !== 401) return answer;
    await askForToken();
  }
}

/** The JSON at a path; an error with the server's words when it answers with one. */
export async function json(path, options) {
  const answer = await request(path, options);
  const body = await answer.json();
  if (answer.ok) return body;
  const error = new Error(body.detail ?? answer.statusText);
  error.status = answer.status;
  error.errors = body.errors ?? [];
  throw error;
}

/** Splits a stream of text into events: {id, name, data}. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { id: undefined, name: 'message', data: undefined, retry: undefined };
  for (const line of block.split('\n')) {
    const [field, text] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)];
    if (field === 'id') event.id = text;
    if (field === 'event') event.name = text;
    if (field === 'retry') event.retry = Number(text);
    if (field === 'data') event.data = event.data === undefined ? text : `${event.data}\n${text}`;
  }
  return event;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Follows the stream at a path until `signal` is aborted: `take` gets each event with data,
 * `connected` hears whether the stream stands. A stream that breaks is taken up again where it was.
 * Ends early, and says so with false, where there is no such stream.
 */
export async function follow(path, { take, connected = () => {}, signal }) {
  let lastId;
  let retry = 1000;
  let failures = 0;
  while (!signal?.aborted) {
    try {
      const headers = lastId === undefined ? {} : { 'last-event-id': lastId };
      const answer = await request(path, { headers, signal });
      if (answer.status === 404) return false;
      if (!answer.ok) throw new Error(answer.statusText);
      connected(true);
      for await (const event of eventsOf(answer.body)) {
        failures = 0;
        if (event.retry) retry = event.retry;
        if (event.data !== undefined) take(event);
        if (event.id !== undefined) lastId = event.id;
      }
    } catch {
      // The pause below answers every failure.
    }
    if (signal?.aborted) break;
    connected(false);
    failures += 1;
    await pause(Math.min(retry * 2 ** Math.min(failures - 1, 4), LONGEST_PAUSE_MS));
  }
  return true;
}
