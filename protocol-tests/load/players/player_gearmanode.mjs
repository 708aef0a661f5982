// GearmaNode as a worker or a client of the load.

import { HOST, PORT, REST, ROLE, batches, note, perform, require } from './player.mjs';

const winston = require('winston');
winston.configure({ silent: true });
const gearmanode = require('gearmanode');
const PRIORITY = { h: 'HIGH', n: 'NORMAL', l: 'LOW' };
for (const part of ['JobServer', 'Client', 'Worker', 'Job', 'protocol', 'LBStrategy']) winston.loggers.get(part).silent = true;

if (ROLE === 'worker') work();
else await submit();

function work() {
  const worker = gearmanode.worker({ host: HOST, port: PORT });
  worker.on('error', fail);
  worker.on('socketDisconnect', fail);
  for (const name of REST) worker.addFunction(name, (job) => perform(job.payload, (result) => job.workComplete(result)));
}

async function submit() {
  const client = gearmanode.client({ host: HOST, port: PORT });
  client.on('error', fail);
  for (const batch of batches()) await Promise.all(batch.map((job) => one(client, job)));
  process.exit(0);
}

function one(client, { id, mode, priority, function: name, unique, payload }) {
  const background = mode === 'b';
  const job = client.submitJob(name, payload, { background, priority: PRIORITY[priority], unique });
  return new Promise((done) => {
    job.on('created', () => {
      note(`a ${id} ${job.handle}\n`);
      if (!background) return;
      job.close();
      done();
    });
    job.on('complete', () => {
      note(`d ${id} ${job.response}\n`);
      done();
    });
    job.on('failed', () => {
      note(`f ${id}\n`);
      done();
    });
  });
}

function fail(error) {
  console.error(String(error));
  process.exit(1);
}
