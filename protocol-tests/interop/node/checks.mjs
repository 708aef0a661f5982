// What both scripts of this folder share: the environment they are run with, the checks, payloads, and worker processes.
//
// `run` calls the checks in order and prints one line for each: `ok NAME`, `n/a NAME: reason`, or `failed NAME: reason`.
// The exit code is 0 only if nothing failed.
//
// The worker of a script is the script itself, run as a child with the word `work`, so that it can be killed. The two talk by
// lines: the child says what it does (`holding ID`, `ran FUNCTION DATA`), and goes on with a held job when it is told `go`.
//
// A check that minds the order of jobs or what is waiting uses a function of its own: the last request of a worker that was killed
// a moment ago may still take a job, which then goes to the end of the queue.

import { spawn } from 'node:child_process';
import net from 'node:net';
import readline from 'node:readline';

export const HOST = process.env.GEARMAN_HOST;
export const PORT = Number(process.env.GEARMAN_PORT);
export const MIB = 2 ** 20;
export const PAYLOAD_SIZES = [0, 1, 65535, 65536, 65537, MIB - 1, MIB, MIB + 1, 20 * MIB];

const ONE_CHECK_SECONDS = 90;

/** The library has no call for this. */
export class NotOffered extends Error {}

/**
 * Runs checks and ends the process. A check is a function, or `[fault, function]` where gearmand's fault of that name (section 7
 * of the protocol notes) breaks it there.
 */
export async function run(checks) {
  let failures = 0;
  // The libraries throw into event handlers, where no check can catch it.
  let stray = null;
  process.on('uncaughtException', (error) => {
    console.error(error);
    stray ??= error;
  });
  for (const entry of checks) {
    const [fault, check] = Array.isArray(entry) ? entry : [null, entry];
    if (fault && process.env.TARGET === 'gearmand') {
      console.log(`n/a ${check.name}: gearmand ${fault}`);
      continue;
    }
    stray = null;
    try {
      await within(check(), `the check ${check.name}`, ONE_CHECK_SECONDS);
      if (stray) throw stray;
      console.log(`ok ${check.name}`);
    } catch (error) {
      if (error instanceof NotOffered) {
        console.log(`n/a ${check.name}: ${error.message}`);
        continue;
      }
      failures += 1;
      console.log(`failed ${check.name}: ${error.message}`);
      console.error(error);
    }
  }
  process.exit(failures ? 1 : 0);
}

/** Has the server killed and returns when a fresh one accepts. */
export async function restartServer() {
  const control = net.connect(Number(process.env.CONTROL_PORT), '127.0.0.1');
  control.write('restart\n');
  const answer = await new Promise((resolve, reject) => control.once('data', resolve).once('error', reject));
  control.destroy();
  same(answer.toString(), 'ok\n', 'the answer to restart');
}

/** Bytes with every value in them, such that no shifted, cut or repeated piece of it looks right. */
export function payload(size) {
  const rows = [];
  const row = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
  for (let turn = 0; turn < 256; turn += 1) rows.push(row.subarray(turn), row.subarray(0, turn));
  rows.push(Buffer.from('\0\0\n\r seam'));
  const block = Buffer.concat(rows);
  return Buffer.alloc(size, block);
}

/** Compares values, buffers among them, without printing megabytes. */
export function same(got, expected, what = 'the result') {
  if (Buffer.isBuffer(got) && Buffer.isBuffer(expected) ? got.equals(expected) : show(got) === show(expected)) return;
  throw new Error(`${what} is ${show(got)}, not ${show(expected)}`);
}

function show(value) {
  if (Buffer.isBuffer(value) && value.length > 200) return `${value.length} bytes`;
  const text = JSON.stringify(value, (_, part) => (part?.type === 'Buffer' ? Buffer.from(part.data).toString('latin1') : part));
  return text !== undefined && text.length > 1000 ? `${text.slice(0, 100)}… (${text.length} characters)` : String(text);
}

/** The promise's value, or an error that names what did not happen. */
export async function within(promise, what, seconds = 40) {
  let timer;
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${seconds} s: ${what}`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first value other than null of `attempt`, tried again and again until the deadline. */
export async function eventually(attempt, what, seconds = 40) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await attempt();
    if (value !== null) return value;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Runs `use` with the script as a worker process for the functions, and kills it. */
export async function withWorker(functions, use) {
  const worker = new Worker(functions);
  try {
    await worker.waitFor('ready');
    return await use(worker);
  } finally {
    await worker.kill();
  }
}

class Worker {
  lines = [];
  #waiting = [];
  #process;
  #ended;

  constructor(functions) {
    this.#process = spawn(process.execPath, [process.argv[1], 'work', ...functions], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = new Promise((resolve) => this.#process.once('exit', resolve));
    readline.createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.lines.push(line);
      for (const look of this.#waiting.splice(0)) look();
    });
  }

  /** Takes the first line that begins so, and returns the rest of it. */
  async waitFor(prefix) {
    const taken = async () => {
      for (;;) {
        const at = this.lines.findIndex((line) => line.startsWith(prefix));
        if (at >= 0) return this.lines.splice(at, 1)[0].slice(prefix.length).trim();
        await new Promise((look) => this.#waiting.push(look));
      }
    };
    return within(taken(), `the worker's word ${JSON.stringify(prefix)}`);
  }

  go() {
    this.#process.stdin.write('go\n');
  }

  async kill() {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

/** In the worker process: tells the script. */
export const say = console.log;

const told = [];
const listening = [];

/** In the worker process: waits for the script's `go`. */
export function go() {
  return new Promise((resolve) => {
    if (told.length) resolve(told.shift());
    else listening.push(resolve);
  });
}

if (process.argv[2] === 'work') {
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    if (listening.length) listening.shift()(line);
    else told.push(line);
  });
}
