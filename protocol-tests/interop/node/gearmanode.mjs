// GearmaNode: its client and its worker.

import { createHash } from 'node:crypto';
import gearmanode from 'gearmanode';
import winston from 'winston';
import {
  HOST, NotOffered, PAYLOAD_SIZES, PORT, eventually, go, payload, restartServer, run, same, say, withWorker, within,
} from './checks.mjs';

const PREFIX = `gearmanode-${process.pid}-`;

for (const part of ['JobServer', 'Client', 'Worker', 'Job', 'protocol', 'LBStrategy']) winston.loggers.get(part).silent = true;

// The worker process

function work(functions) {
  const worker = gearmanode.worker({ host: HOST, port: PORT, withUnique: true });
  worker.on('error', (error) => console.error(String(error)));
  // The library's worker does not reconnect: its user makes a new one.
  worker.once('socketDisconnect', () => setTimeout(work, 100, functions));
  worker.once('socketConnect', () => say('ready'));
  worker.setWorkerId('gearmanode-worker');
  for (const name of functions) worker.addFunction(name, perform);
}

async function perform(job) {
  const data = job.payload;
  switch (job.name.split('-').at(-1)) {
    case 'echo':
      return job.workComplete(data);
    case 'bytes':
      // A result is text to this library, bytes go as WORK_DATA.
      job.sendWorkData(data);
      return job.workComplete(createHash('sha256').update(data).digest('hex'));
    case 'record':
      say(`ran ${job.name} ${data}`);
      return job.workComplete(data);
    case 'hold':
      job.reportStatus(3, 10);
      say(`holding ${job.unique}`);
      await go();
      return job.workComplete(data);
    case 'progress':
      for (let step = 1; step <= 4; step += 1) job.reportStatus(step, 4);
      return job.workComplete();
    case 'chunks':
      for (const piece of [Buffer.from('a'), Buffer.from([0, 98, 255]), Buffer.from('c')]) job.sendWorkData(piece);
      return job.workComplete('end');
    case 'warn':
      job.reportWarning(data);
      return job.workComplete('warned');
    case 'raise':
      return job.reportException(data);
    case 'fail':
      return job.reportError();
  }
}

// The client

const JOB_EVENTS = ['status', 'workData', 'warning', 'complete', 'failed', 'exception', 'error'];
const FINAL = new Set(['complete', 'failed', 'exception', 'error']);

function connect() {
  const client = gearmanode.client({ host: HOST, port: PORT, recoverTime: 100 });
  client.on('error', (error) => console.error(String(error)));
  return client;
}

/** Submits and keeps all events of the job; resolves when it is accepted. */
async function submit(kind, data = '', options = {}, to = client) {
  const job = to.submitJob(PREFIX + kind, data, options);
  if (job instanceof Error) throw job;
  job.seen = [];
  job.finished = new Promise((finish) => {
    for (const event of JOB_EVENTS) {
      job.on(event, (told) => {
        job.seen.push(event === 'complete' ? [event, job.response] : told === undefined ? [event] : [event, told]);
        if (FINAL.has(event)) finish();
      });
    }
  });
  await within(Promise.race([new Promise((accept) => job.once('created', accept)), job.finished]), 'JOB_CREATED');
  return job;
}

/** Everything that arrived for the job until its end. */
async function events(job) {
  await within(job.finished, `the end of ${job}`);
  return job.seen;
}

async function status_of(job) {
  const answered = new Promise((resolve) => job.once('status', resolve));
  job.getStatus();
  const { known, running, percent_done_num, percent_done_den } = await within(answered, 'the answer to GET_STATUS');
  return [known, running, percent_done_num, percent_done_den];
}

const complete = (text) => [['complete', Buffer.from(text)]];
const has = async (job, status) => ((await status_of(job)).join() === status ? true : null);

const client = connect();

const checks = [
  async function ping() {
    const server = client.jobServers[0];
    const answered = new Promise((resolve) => server.once('echo', resolve));
    server.echo('any text');
    same(await within(answered, 'the echo'), 'any text');
  },

  async function foreground() {
    await withWorker([`${PREFIX}echo`], async () => {
      same(await events(await submit('echo', 'hello')), complete('hello'));
    });
  },

  async function background() {
    await withWorker([`${PREFIX}record`], async (worker) => {
      const job = await submit('record', 'unwatched', { background: true });
      same(await worker.waitFor('ran'), `${PREFIX}record unwatched`);
      await eventually(() => has(job, 'false,false,0,0'), 'an ended job is unknown');
      same(job.seen.filter(([event]) => event !== 'status'), [], "a background job's events");
      job.close();
    });
  },

  async function priorities() {
    const foreground = [];
    for (const priority of ['LOW', 'NORMAL', 'HIGH']) {
      await submit('order-record', `${priority}-bg`, { priority, background: true });
      foreground.push(await submit('order-record', `${priority}-fg`, { priority }));
    }
    await withWorker([`${PREFIX}order-record`], async (worker) => {
      const order = [];
      while (order.length < 6) order.push((await worker.waitFor('ran')).split(' ')[1]);
      same(order, ['HIGH-bg', 'HIGH-fg', 'NORMAL-bg', 'NORMAL-fg', 'LOW-bg', 'LOW-fg'], 'the order');
      for (const job of foreground) await events(job);
    });
  },

  async function progress() {
    await withWorker([`${PREFIX}progress`], async () => {
      const steps = ['1', '2', '3', '4'].map((step) => ['status', { percent_done_num: step, percent_done_den: '4' }]);
      same(await events(await submit('progress')), [...steps, ...complete('')], 'the events');
    });
  },

  async function data() {
    await withWorker([`${PREFIX}chunks`], async () => {
      const pieces = [Buffer.from('a'), Buffer.from([0, 98, 255]), Buffer.from('c')].map((piece) => ['workData', piece]);
      same(await events(await submit('chunks')), [...pieces, ...complete('end')], 'the events');
    });
  },

  async function warning() {
    await withWorker([`${PREFIX}warn`], async () => {
      const sent = Buffer.from('beware\0\xfe', 'latin1');
      same(await events(await submit('warn', sent)), [['warning', sent], ...complete('warned')], 'the events');
    });
  },

  ['W6', async function exception_without_option() {
    await withWorker([`${PREFIX}raise`, `${PREFIX}echo`], async () => {
      same((await events(await submit('raise', 'broken'))).map(([event]) => event), ['failed'], 'the events');
      same(await events(await submit('echo', 'next')), complete('next'), 'the events of the next job');
    });
  }],

  async function exception() {
    const server = client.jobServers[0];
    const answered = new Promise((resolve) => server.once('option', resolve));
    server.setOption('exceptions');
    same(await within(answered, 'the answer to the option'), 'exceptions', 'the answer to the option');
    await withWorker([`${PREFIX}raise`, `${PREFIX}echo`], async () => {
      const sent = Buffer.from('broken\0\xff', 'latin1');
      same(await events(await submit('raise', sent)), [['exception', sent]], 'the events');
      same(await events(await submit('echo', 'next')), complete('next'), 'the events of the next job');
    });
  },

  async function fail() {
    await withWorker([`${PREFIX}fail`], async () => {
      same((await events(await submit('fail'))).map(([event]) => event), ['failed'], 'the events');
    });
  },

  async function unique() {
    // A client keeps one job for each handle, so the second submitter is another client.
    const other = connect();
    const first = await submit('unique-record', 'first', { unique: 'the-one' });
    const second = await submit('unique-record', 'second', { unique: 'the-one' }, other);
    same(second.handle, first.handle, 'the second handle');
    await withWorker([`${PREFIX}unique-record`, `${PREFIX}echo`], async (worker) => {
      same(await events(first), complete('first'), 'the events of the first');
      same(await events(second), complete('first'), 'the events of the second');
      await events(await submit('echo', 'x'));
      same(worker.lines.filter((line) => line.startsWith('ran')), [`ran ${PREFIX}unique-record first`], 'what ran');
    });
    other.close();
  },

  async function status() {
    const job = await submit('status-hold', 'x', { background: true });
    same(await status_of(job), [true, false, '0', '0'], 'the status of a waiting job');
    await withWorker([`${PREFIX}status-hold`], async (worker) => {
      await worker.waitFor('holding');
      await eventually(() => has(job, 'true,true,3,10'), 'the status of a running job');
      worker.go();
      await eventually(() => has(job, 'false,false,0,0'), 'an ended job is unknown');
    });
    job.close();
  },

  async function status_by_unique() {
    throw new NotOffered('the library does not know the packet');
  },

  async function payloads() {
    await withWorker([`${PREFIX}bytes`], async () => {
      for (const size of PAYLOAD_SIZES) {
        const sent = payload(size);
        const digest = createHash('sha256').update(sent).digest('hex');
        same(await events(await submit('bytes', sent)), [['workData', sent], ...complete(digest)], `the events of ${size} bytes`);
      }
    });
  },

  async function worker_dies() {
    const job = await submit('dying-hold', 'survivor', { unique: 'a-unique-id' });
    for (const lucky of [false, true]) {
      await withWorker([`${PREFIX}dying-hold`], async (worker) => {
        same(await worker.waitFor('holding'), 'a-unique-id', 'the unique id at the worker');
        if (!lucky) return;
        worker.go();
        same((await events(job)).at(-1), complete('survivor')[0], 'the last event');
      });
    }
  },

  async function reconnect() {
    await withWorker([`${PREFIX}echo`], async () => {
      same(await events(await submit('echo', 'before')), complete('before'));
      await restartServer();
      // The same client: it finds the server again when `recoverTime` has passed.
      const answered = async () => {
        try {
          return await events(await submit('echo', 'after'));
        } catch {
          return null;
        }
      };
      same((await eventually(answered, 'an answer after the restart')), complete('after'));
    });
  },
];

if (process.argv[2] === 'work') work(process.argv.slice(3));
else await run(checks);
