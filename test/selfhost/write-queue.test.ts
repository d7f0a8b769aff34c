import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { waitFor } from '#selfhost/wait.ts';
import { startWriteQueue } from '#selfhost/write-queue.ts';

/** A database whose answers wait to be released. */
async function open() {
  const dir = await mkdtemp(path.join(tmpdir(), 'longshore-queue-'));
  const waiting: { body: string; answer: () => void; closed: boolean }[] = [];
  const database = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      const entry = { body, closed: false, answer: () => void response.end(`done ${body}`) };
      response.on('close', () => {
        entry.closed = true;
      });
      waiting.push(entry);
    });
  });
  await new Promise<void>((resolve) => {
    database.listen(0, '127.0.0.1', () => resolve());
  });
  const address = database.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const socketPath = path.join(dir, 'q.sock');
  const queue = await startWriteQueue(socketPath, address.port);
  onTestFinished(async () => {
    await queue.close();
    database.closeAllConnections();
    database.close();
    await rm(dir, { recursive: true });
  });
  const send = (body: string) => {
    const request = http.request({ socketPath, method: 'POST', path: '/v2/pipeline' });
    const answer = new Promise<{ status: number; text: string }>((resolve, reject) => {
      request.on('error', reject);
      request.on('response', (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += String(chunk);
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      });
    });
    request.end(body);
    return { answer, giveUp: () => request.destroy() };
  };
  const sendHalf = () => {
    const request = http.request({ socketPath, method: 'POST', headers: { 'content-length': 10 } });
    request.on('error', () => {});
    request.write('half');
    onTestFinished(() => void request.destroy());
  };
  const untilCount = (count: number) => waitFor(`${count} requests`, () => waiting.length >= count);
  return { send, sendHalf, waiting, untilCount, database };
}

it('lets one write through at a time, in the order they came', async () => {
  const { send, waiting, untilCount } = await open();
  const first = send('1');
  await untilCount(1);
  const second = send('2');
  waiting[0]?.answer();
  expect(await first.answer).toEqual({ status: 200, text: 'done 1' });
  await untilCount(2);
  expect(waiting.map(({ body }) => body)).toEqual(['1', '2']);
  waiting[1]?.answer();
  expect(await second.answer).toEqual({ status: 200, text: 'done 2' });
});

it('drops the write of whoever gives up, waiting or not, and goes on', async () => {
  const { send, waiting, untilCount } = await open();
  const [first, second] = [send('1'), send('2')];
  first.answer.catch(() => {});
  second.answer.catch(() => {});
  await untilCount(1);
  second.giveUp();
  first.giveUp();
  await waitFor('the database to lose the first', () => waiting[0]?.closed);
  const third = send('3');
  await untilCount(2);
  expect(waiting[1]?.body).toBe('3');
  waiting[1]?.answer();
  expect((await third.answer).text).toBe('done 3');
});

it('says 503 when the database is away', async () => {
  const { send, database } = await open();
  database.closeAllConnections();
  database.close();
  expect((await send('1').answer).status).toBe(503);
});

it('lets nobody wait for who does not send its request to the end', async () => {
  const { send, sendHalf, waiting, untilCount } = await open();
  sendHalf();
  const whole = send('1');
  await untilCount(1);
  waiting[0]?.answer();
  expect((await whole.answer).text).toBe('done 1');
});
