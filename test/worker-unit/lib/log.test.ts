import { describe, expect, it } from 'vitest';
import { createLogger } from '#worker/lib/log.ts';

function logger(level: 'debug' | 'warn' = 'debug') {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger(level, { object: 'test' }, (_level, line) => lines.push(JSON.parse(line)));
  return { log, lines };
}

class QueryError extends Error {
  query = 'insert into tokens values (?)';
  params = ['s3cret'];
}

describe('the log', () => {
  it('writes one object with its event, level and fields', () => {
    const { log, lines } = logger();
    log.with({ member: 'm1' }).info('link.up', { epoch: 3 });
    expect(lines).toMatchObject([{ level: 'info', event: 'link.up', object: 'test', member: 'm1', epoch: 3 }]);
  });

  it('drops what is below its level', () => {
    const { log, lines } = logger('warn');
    log.info('quiet');
    log.warn('loud');
    expect(lines.map(({ event }) => event)).toEqual(['loud']);
  });

  it.each([
    ['as the error', (error: Error) => ({ error })],
    ['as a field', (error: Error) => ({ fields: { failure: error } })],
    ['as text', (error: Error) => ({ fields: { failure: String(error) } })],
  ])('never writes the parameters of a failed query given %s', (_how, give) => {
    const { log, lines } = logger();
    const cause = new Error('SQLITE_CONSTRAINT: UNIQUE constraint failed: tokens.secret');
    const error = new QueryError('Failed query: insert into tokens values (?)\nparams: s3cret', { cause });
    const { fields, error: thrown } = { fields: {}, error: undefined, ...give(error) };
    log.error('failed', fields, thrown);
    expect(JSON.stringify(lines)).not.toContain('s3cret');
    expect(lines).toHaveLength(1);
  });
});
