// npm's gearman as a worker or a client of the load.

import { HOST, PORT, REST, ROLE, batches, note, perform, require } from './player.mjs';

const gearman = require('gearman');
const PRIORITY = { h: 'high', n: 'normal', l: 'low' };

const server = gearman(HOST, PORT);
server.on('error', fail);
server.connect(ROLE === 'worker' ? work : submit);

function work() {
  server.on('close', fail);
  server.on('NOOP', () => server.grabUniqueJob());
  server.on('NO_JOB', () => server.preSleep());
  server.on('JOB_ASSIGN_UNIQ', ({ handle, payload }) => {
    perform(payload, (result) => {
      server.sendWorkComplete(handle, result);
      server.preSleep();
    });
  });
  for (const name of REST) server.addFunction(name);
  server.preSleep();
}

async function submit() {
  const submitted = [];
  const running = new Map();
  let news = () => {};
  server.on('JOB_CREATED', (handle) => {
    const job = submitted.shift();
    note(`a ${job.id} ${handle}\n`);
    if (job.mode === 'f') running.set(handle, job);
    news();
  });
  server.on('WORK_COMPLETE', ({ handle, payload }) => end(handle, (job) => note(`d ${job.id} ${payload}\n`)));
  server.on('WORK_FAIL', ({ handle }) => end(handle, (job) => note(`f ${job.id}\n`)));

  function end(handle, tell) {
    tell(running.get(handle));
    running.delete(handle);
    news();
  }

  for (const batch of batches()) {
    for (const job of batch) {
      submitted.push(job);
      const { priority, mode, unique } = job;
      server.submitJob(job.function, job.payload, { priority: PRIORITY[priority], background: mode === 'b', unique_id: unique });
    }
    while (submitted.length || running.size) await new Promise((resolve) => { news = resolve; });
  }
  process.exit(0);
}

function fail(error) {
  console.error(String(error));
  process.exit(1);
}
