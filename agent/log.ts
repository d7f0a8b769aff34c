/**
 * The agent's log: one JSON line per event on standard error. The name of the event comes first, ids go in fields; tokens,
 * secrets, user-data and environments never do.
 */
import { pino } from 'pino';

type Fields = Record<string, unknown>;

/** Error level means that a person should look. An `Error` under the key `err` is written with its stack and causes. */
export interface Log {
  debug(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Writes to standard error, at once: a killed agent has told all it did. */
export function createLog(level: LogLevel): Log {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  };
}

/** Drops everything. */
export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
