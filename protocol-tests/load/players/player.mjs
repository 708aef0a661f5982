// What the players in Node share. README.md tells what the words and lines mean.

import { openSync, readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';

const [role, host, port, journal, ...rest] = process.argv.slice(2);
const lines = openSync(journal, 'a');

export const ROLE = role;
export const HOST = host;
export const PORT = Number(port);
export const REST = rest;

/** Where setup installs the libraries. */
export const require = createRequire(new URL('../../interop/node/', import.meta.url));

/** Unbuffered: what was written before a SIGKILL stays. */
export function note(text) {
  writeSync(lines, text);
}

/** A job's work, told in the journal; the result goes to `reply`. */
export function perform(payload, reply) {
  const [id, milliseconds] = payload.toString('latin1', 0, 64).split(' ', 2);
  note(`s ${id}\n`);
  const end = () => {
    note(`e ${id}\n`);
    reply(`done ${id}`);
  };
  if (milliseconds === '0') end();
  else setTimeout(end, Number(milliseconds));
}

/** The plan, batch by batch; that a batch comes next is told in the journal. */
export function* batches() {
  for (const batch of readFileSync(REST[0], 'latin1').trim().split('\n\n')) {
    const jobs = batch.split('\n').map((line) => {
      const [id, mode, priority, name, unique, milliseconds, padding] = line.split(' ');
      const payload = Buffer.from(`${id} ${milliseconds} ${'x'.repeat(Number(padding))}`);
      return { id, mode, priority, function: name, unique: unique === '-' ? undefined : unique, payload };
    });
    note(jobs.map(({ id }) => `+ ${id}\n`).join(''));
    yield jobs;
  }
  note('.\n');
}
