// `tidemill demo` as a child process, and the address that it serves.

import { spawn } from 'node:child_process';

const STARTS_WITHIN_MS = 60_000;

/** A running demo; it ends with this process. */
export class Demo {
  #child;

  constructor(child, url) {
    this.#child = child;
    this.url = url;
    this.port = new URL(url).port;
    process.on('exit', () => child.kill('SIGKILL'));
  }

  /** Starts it on that port, or a free one, with that token if one is given; waits until it serves. */
  static start(program, { port = 0, token } = {}) {
    const settings = ['demo', '--rate', '400', '--assets', '4', '--set', `http.listen=127.0.0.1:${port}`];
    const env = token === undefined ? process.env : { ...process.env, TIDEMILL_HTTP_TOKEN: token };
    const child = spawn(program, settings, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    return new Promise((resolve, reject) => {
      let log = '';
      const give = (error) => reject(new Error(`${program} ${settings.join(' ')}: ${error}\n${log}`));
      const late = setTimeout(() => { child.kill('SIGKILL'); give('serves no page'); }, STARTS_WITHIN_MS);
      const read = (piece) => {
        log += piece;
        const address = /http:\/\/[\d.]+:\d+/.exec(log);
        if (!address) return;
        clearTimeout(late);
        resolve(new Demo(child, address[0]));
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.on('error', give);
      child.on('exit', (code) => { clearTimeout(late); give(`ended with ${code}`); });
    });
  }

  /** Ends it as Ctrl-C does. */
  stop() {
    return new Promise((resolve) => {
      this.#child.on('exit', resolve);
      this.#child.kill('SIGINT');
    });
  }
}
