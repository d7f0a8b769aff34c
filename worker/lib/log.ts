/**
 * The control plane's log: one JSON object per line, on the console, from here only.
 *
 * Redaction is by construction: an event is a constant name, and what varies goes into fields of plain scalars, so that
 * no object (a request, a row, a token's record) can be logged whole. An error is logged as its class, code and message,
 * and a database error by its cause, because drizzle writes SQL and parameters into its own message.
 */

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Ids, names, counts, durations. An exception goes in as itself and comes out as `errorFields` allows. */
export type LogFields = Record<string, string | number | boolean | null | undefined | Error>;

export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields, error?: unknown): void;
  /** Error level means that a person should look. */
  error(event: string, fields?: LogFields, error?: unknown): void;
  /** A logger that adds these fields to every line. */
  with(fields: LogFields): Logger;
}

/** The innermost error whose message carries no SQL parameters. */
function safeError(error: unknown): Error | null {
  if (!(error instanceof Error)) return null;
  if ('params' in error && 'query' in error) return safeError(error.cause);
  return error;
}

function errorFields(error: unknown): Record<string, string | undefined> {
  const safe = safeError(error);
  if (safe === null) return { error: error instanceof Error ? error.name : typeof error };
  const code = 'code' in safe && typeof safe.code === 'string' ? { errorCode: safe.code } : {};
  const inner = safe.cause === undefined ? null : safeError(safe.cause);
  const frames = safe.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? [];
  return {
    error: safe.name,
    ...code,
    errorMessage: safe.message,
    ...(inner === null ? {} : { errorCause: inner.message }),
    ...(frames.length === 0 ? {} : { errorStack: frames.slice(0, 8).join('\n') }),
  };
}

/** Drizzle's text of a failed query, cut before its parameters, wherever somebody made a string of it. */
const cutParameters = (text: string): string =>
  text.includes('Failed query:') ? 'Failed query (see the cause)' : text;

function plain(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([key, value]): [string, unknown][] => {
      if (value instanceof Error) return Object.entries(errorFields(value));
      return [[key, typeof value === 'string' ? cutParameters(value) : value]];
    }),
  );
}

/** Where lines go. Tests pass their own. */
export type LogSink = (level: LogLevel, line: string) => void;

const consoleSink: LogSink = (level, line) => {
  console[level](line);
};

/** A logger that drops what is below `level`. Never throws. */
export function createLogger(level: LogLevel, fields: LogFields = {}, sink: LogSink = consoleSink): Logger {
  const threshold = LOG_LEVELS.indexOf(level);
  const write = (at: LogLevel, event: string, own?: LogFields, error?: unknown) => {
    if (LOG_LEVELS.indexOf(at) < threshold) return;
    const failure = error === undefined ? {} : errorFields(error);
    sink(
      at,
      JSON.stringify({ time: new Date().toISOString(), level: at, event, ...plain({ ...fields, ...own }), ...failure }),
    );
  };
  return {
    debug: (event, own) => write('debug', event, own),
    info: (event, own) => write('info', event, own),
    warn: (event, own, error) => write('warn', event, own, error),
    error: (event, own, error) => write('error', event, own, error),
    with: (more) => createLogger(level, { ...fields, ...more }, sink),
  };
}
