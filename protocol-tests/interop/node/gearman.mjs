// npm's gearman: packets as calls and events; the loops around them are the user's, as here.

import gearman from 'gearman';
import {
  HOST, PAYLOAD_SIZES, PORT, eventually, go, payload, restartServer, run, same, say, withWorker, within,
} from './checks.mjs';

const PREFIX = `npm-gearman-${process.pid}-`;

// The worker process

function work(functions) {
  const server = gearman(HOST, PORT);
  server.on('NOOP', () => server.grabUniqueJob());
  server.on('NO_JOB', () => server.preSleep());
  server.on('JOB_ASSIGN_UNIQ', async (job) => {
    await perform(server, job);
    server.preSleep();
  });
  // The library does not reconnect: its user does.
  server.on('error', (error) => console.error(String(error)));
  server.on('close', () => setTimeout(work, 100, functions));
  server.connect(() => {
    server.setWorkerId('npm-gearman-worker');
    for (const name of functions) server.addFunction(name);
    server.preSleep();
    say('ready');
  });
}

async function perform(server, { handle, func_name, unique_id, payload: data }) {
  switch (func_name.split('-').at(-1)) {
    case 'echo':
      return server.sendWorkComplete(handle, data);
    case 'record':
      say(`ran ${func_name} ${data}`);
      return server.sendWorkComplete(handle, data);
    case 'hold':
      server.sendWorkStatus(handle, '3', '10');
      say(`holding ${unique_id}`);
      await go();
      return server.sendWorkComplete(handle, data);
    case 'progress':
      for (const step of ['1', '2', '3', '4']) server.sendWorkStatus(handle, step, '4');
      return server.sendWorkComplete(handle, '');
    case 'chunks':
      for (const piece of [Buffer.from('a'), Buffer.from([0, 98, 255]), Buffer.from('c')]) server.sendWorkData(handle, piece);
      return server.sendWorkComplete(handle, 'end');
    case 'warn':
      server.sendWorkWarning(handle, data);
      return server.sendWorkComplete(handle, 'warned');
    case 'raise':
      return server.sendWorkException(handle, data);
    case 'fail':
      return server.sendWorkFail(handle);
  }
}

// The client

const JOB_EVENTS = ['WORK_STATUS', 'WORK_DATA', 'WORK_WARNING', 'WORK_COMPLETE', 'WORK_FAIL', 'WORK_EXCEPTION'];
const FINAL = new Set(['WORK_COMPLETE', 'WORK_FAIL', 'WORK_EXCEPTION']);

/** Collects what the library emits about each job; it says only which handle. */
class Client {
  #jobs = new Map();
  #submitted = [];
  #server = gearman(HOST, PORT);

  static async connected() {
    const client = new Client();
    client.#server.on('error', (error) => console.error(String(error)));
    client.#server.on('JOB_CREATED', (handle) => client.#created(handle));
    for (const event of JOB_EVENTS) client.#server.on(event, (seen) => client.#arrived(event, seen));
    await within(new Promise((resolve) => client.#server.connect(resolve)), 'the connection');
    return client;
  }

  // At once, not in a promise's turn: the job's first event can be in the same read.
  #created(handle) {
    const job = this.#submitted.shift();
    job.handle = handle;
    this.#jobs.set(handle, job);
    job.accept(job);
  }

  #arrived(event, { handle, ...seen }) {
    const job = this.#jobs.get(handle);
    if (!job) throw new Error(`${event} of the unknown job ${handle}`);
    job.events.push([event, ...Object.values(seen)]);
    if (FINAL.has(event)) job.finish();
  }

  submit(kind, data = '', options = {}) {
    const job = { events: [] };
    const accepted = new Promise((resolve) => { job.accept = resolve; });
    job.finished = new Promise((resolve) => { job.finish = resolve; });
    this.#submitted.push(job);
    this.#server.submitJob(PREFIX + kind, data, options);
    return within(accepted, 'JOB_CREATED');
  }

  /** The next event of that name. */
  answer(event) {
    const answered = new Promise((resolve) => {
      const take = (seen) => {
        this.#server.removeEventListener(event, take);
        resolve(seen);
      };
      this.#server.on(event, take);
    });
    return within(answered, event);
  }

  /** Everything that arrived for the job until its end. */
  async events(job) {
    await within(job.finished, `the end of ${job.handle}`);
    return job.events;
  }

  async status(job) {
    this.#server.getJobStatus(job.handle);
    return fields(await this.answer('STATUS_RES'));
  }

  async statusByUnique(id) {
    this.#server.getJobStatusUnique(id);
    return fields(await this.answer('STATUS_RES_UNIQUE'));
  }

  async setExceptions() {
    this.#server.setOption('exceptions');
    return this.answer('OPTION_RES');
  }

  async echo(data) {
    this.#server.echo(data);
    return this.answer('ECHO_RES');
  }

  admin(command, ...words) {
    return within(new Promise((resolve) => this.#server[command](...words, resolve)), command);
  }

  close() {
    this.#server.close();
  }
}

/** The library takes the first byte of the last number. */
const fields = (answer) => [answer.known, answer.running, answer.percent_done_num, String.fromCharCode(answer.percent_done_den)];

const is = (status, expected) => (status.join() === expected ? true : null);

const complete = (data) => [['WORK_COMPLETE', Buffer.from(data)]];

let client;

const checks = [
  async function connect() {
    client = await Client.connected();
  },

  async function ping() {
    same(await client.echo('any\0text'), Buffer.from('any\0text'));
  },

  async function foreground() {
    await withWorker([`${PREFIX}echo`], async () => {
      same(await client.events(await client.submit('echo', 'hello')), complete('hello'));
    });
  },

  async function background() {
    await withWorker([`${PREFIX}record`], async (worker) => {
      const job = await client.submit('record', 'unwatched', { background: true });
      same(await worker.waitFor('ran'), `${PREFIX}record unwatched`);
      await eventually(async () => is(await client.status(job), '0,0,0,0'), 'an ended job is unknown');
      same(job.events, [], "a background job's events");
    });
  },

  async function priorities() {
    const foreground = [];
    for (const priority of ['low', 'normal', 'high']) {
      await client.submit('order-record', `${priority}-bg`, { priority, background: true });
      foreground.push(await client.submit('order-record', `${priority}-fg`, { priority }));
    }
    await withWorker([`${PREFIX}order-record`], async (worker) => {
      const order = [];
      while (order.length < 6) order.push((await worker.waitFor('ran')).split(' ')[1]);
      same(order, ['high-bg', 'high-fg', 'normal-bg', 'normal-fg', 'low-bg', 'low-fg'], 'the order');
      for (const job of foreground) await client.events(job);
    });
  },

  async function progress() {
    await withWorker([`${PREFIX}progress`], async () => {
      const steps = ['1', '2', '3', '4'].map((step) => ['WORK_STATUS', step, '4']);
      same(await client.events(await client.submit('progress')), [...steps, ...complete('')], 'the events');
    });
  },

  async function data() {
    await withWorker([`${PREFIX}chunks`], async () => {
      const pieces = [Buffer.from('a'), Buffer.from([0, 98, 255]), Buffer.from('c')].map((piece) => ['WORK_DATA', piece]);
      same(await client.events(await client.submit('chunks')), [...pieces, ...complete('end')], 'the events');
    });
  },

  async function warning() {
    await withWorker([`${PREFIX}warn`], async () => {
      same(await client.events(await client.submit('warn', 'beware')), [['WORK_WARNING', 'beware'], ...complete('warned')], 'the events');
    });
  },

  ['W6', async function exception_without_option() {
    await withWorker([`${PREFIX}raise`, `${PREFIX}echo`], async () => {
      same(await client.events(await client.submit('raise', 'broken')), [['WORK_FAIL']], 'the events');
      same(await client.events(await client.submit('echo', 'next')), complete('next'), 'the events of the next job');
    });
  }],

  async function exception() {
    same(await client.setExceptions(), { option_name: 'exceptions' }, 'the answer to the option');
    await withWorker([`${PREFIX}raise`, `${PREFIX}echo`], async () => {
      same(await client.events(await client.submit('raise', 'broken')), [['WORK_EXCEPTION', 'broken']], 'the events');
      same(await client.events(await client.submit('echo', 'next')), complete('next'), 'the events of the next job');
    });
  },

  async function fail() {
    await withWorker([`${PREFIX}fail`], async () => {
      same(await client.events(await client.submit('fail')), [['WORK_FAIL']], 'the events');
    });
  },

  async function unique() {
    // One connection's events name only the handle, so the second submitter is another one.
    const other = await Client.connected();
    const first = await client.submit('unique-record', 'first', { unique_id: 'the-one' });
    const second = await other.submit('unique-record', 'second', { unique_id: 'the-one' });
    same(second.handle, first.handle, 'the second handle');
    await withWorker([`${PREFIX}unique-record`, `${PREFIX}echo`], async (worker) => {
      same(await client.events(first), complete('first'), 'the events of the first');
      same(await other.events(second), complete('first'), 'the events of the second');
      await client.events(await client.submit('echo'));
      same(worker.lines.filter((line) => line.startsWith('ran')), [`ran ${PREFIX}unique-record first`], 'what ran');
    });
    other.close();
  },

  async function status() {
    const job = await client.submit('status-hold', 'x', { background: true });
    same(await client.status(job), ['1', '0', '0', '0'], 'the status of a waiting job');
    await withWorker([`${PREFIX}status-hold`], async (worker) => {
      await worker.waitFor('holding');
      await eventually(async () => is(await client.status(job), '1,1,3,1'), 'the status of a running job');
      worker.go();
      await eventually(async () => is(await client.status(job), '0,0,0,0'), 'an ended job is unknown');
    });
  },

  async function status_by_unique() {
    await client.submit('asked-hold', 'x', { background: true, unique_id: 'asked-for' });
    same(await client.statusByUnique('asked-for'), ['1', '0', '0', '0'], 'the status of a waiting job');
    await withWorker([`${PREFIX}asked-hold`], async (worker) => {
      same(await worker.waitFor('holding'), 'asked-for', 'the unique id at the worker');
      await eventually(async () => is(await client.statusByUnique('asked-for'), '1,1,3,1'), 'the status of a running job');
      worker.go();
      await eventually(async () => is(await client.statusByUnique('asked-for'), '0,0,0,0'), 'an ended job is unknown');
    });
  },

  async function payloads() {
    await withWorker([`${PREFIX}echo`], async () => {
      for (const size of PAYLOAD_SIZES) {
        const sent = payload(size);
        same((await client.events(await client.submit('echo', sent)))[0][1], sent, `the result of ${size} bytes`);
      }
    });
  },

  async function worker_dies() {
    const job = await client.submit('dying-hold', 'survivor', { unique_id: 'a-unique-id' });
    for (const lucky of [false, true]) {
      await withWorker([`${PREFIX}dying-hold`], async (worker) => {
        same(await worker.waitFor('holding'), 'a-unique-id', 'the unique id at the worker');
        if (!lucky) return;
        worker.go();
        same((await client.events(job)).at(-1), complete('survivor')[0], 'the last event');
      });
    }
  },

  async function admin_status_and_workers() {
    await client.submit('admin-hold', 'x', { background: true });
    const name = `${PREFIX}admin-hold`;
    const counts = async () => (await client.admin('adminStatus'))[name];
    same(await counts(), { total: 1, running: 0, available_workers: 0 }, 'status');
    await withWorker([name], async (worker) => {
      await worker.waitFor('holding');
      same(await counts(), { total: 1, running: 1, available_workers: 1 }, 'status while running');
      const workers = (await client.admin('adminWorkers')).filter((entry) => entry.id === 'npm-gearman-worker');
      same(workers.map(({ ip, functions }) => [ip, functions]), [['127.0.0.1', [name]]], 'workers');
      same(workers.every(({ fd }) => Number.isInteger(fd)), true, 'a number first in each line of workers');
      same(String(await client.admin('adminDropFunction', name)).startsWith('Error'), true, 'a function in use is not dropped');
      worker.go();
      await eventually(async () => ((await counts()).total === 0 ? true : null), 'the end of the job');
    });
    const dropped = async () => ((await client.admin('adminDropFunction', name)) === null ? true : null);
    await eventually(dropped, 'the function without workers and jobs can be dropped');
    same(await counts(), undefined, 'status after the drop');
  },

  async function reconnect() {
    await withWorker([`${PREFIX}echo`], async () => {
      same(await client.events(await client.submit('echo', 'before')), complete('before'));
      await restartServer();
      const again = await Client.connected();
      same(await again.events(await again.submit('echo', 'after')), complete('after'));
    });
  },
];

if (process.argv[2] === 'work') work(process.argv.slice(3));
else await run(checks);
