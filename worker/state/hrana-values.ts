/** Statements and rows as they stand in Hrana's JSON. */
import type { InStatement, ResultSet, Row, Value } from '@libsql/client';
import { z } from 'zod';

type WireValue =
  | { type: 'null' }
  /** Decimal text: 64 bits. */
  | { type: 'integer'; value: string }
  | { type: 'float'; value: number }
  | { type: 'text'; value: string }
  | { type: 'blob'; base64: string };

/** Looked at again when it is decoded: a full schema for every cell costs more than the statement. */
const Cell = z.custom<WireValue>((value) => typeof value === 'object' && value !== null && 'type' in value);

export const StatementResult = z.object({
  cols: z.array(z.object({ name: z.string().nullable(), decltype: z.string().nullish() })),
  rows: z.array(z.array(Cell)),
  affected_row_count: z.number(),
  last_insert_rowid: z.string().nullish(),
});

/** Arguments are positional: drizzle knows no others. Throws a TypeError for what no column can hold. */
export function encodeStatement(statement: InStatement | readonly [string, unknown?]) {
  if (typeof statement === 'string') return { sql: statement };
  const [sql, args] = 'sql' in statement ? [statement.sql, statement.args] : statement;
  if (args === undefined) return { sql };
  if (!Array.isArray(args)) throw new TypeError('Statements take their arguments by position');
  return { sql, args: args.map(encodeValue) };
}

function encodeValue(value: unknown): WireValue {
  switch (typeof value) {
    case 'string':
      return { type: 'text', value };
    case 'number':
      // JSON has no other numbers.
      if (!Number.isFinite(value)) throw new TypeError('Only finite numbers can be stored');
      return { type: 'float', value };
    case 'bigint':
      return { type: 'integer', value: value.toString() };
    case 'boolean':
      return { type: 'integer', value: value ? '1' : '0' };
    default:
      if (value === null) return { type: 'null' };
      throw new TypeError(`A value of type ${typeof value} cannot be stored`);
  }
}

function decodeValue(value: WireValue): Value {
  switch (value.type) {
    case 'null':
      return null;
    case 'integer': {
      const number = Number(value.value);
      if (!Number.isSafeInteger(number)) throw new RangeError('An integer of the database is too large');
      return number;
    }
    case 'float':
    case 'text':
      return value.value;
    case 'blob':
      return Uint8Array.from(atob(value.base64), (character) => character.charCodeAt(0)).buffer;
    default:
      throw new TypeError('Unreadable value of the database');
  }
}

/** Rows can be read by position and by name; only names are listed. Of columns with one name the first counts. */
function toRow(names: readonly string[], values: readonly WireValue[]): Row {
  const row: Row = Object.defineProperty({ length: 0 }, 'length', { value: values.length, enumerable: false });
  for (const [index, wire] of values.entries()) {
    const value = decodeValue(wire);
    const name = names[index] ?? '';
    Object.defineProperty(row, index, { value, enumerable: false });
    if (!Object.hasOwn(row, name)) row[name] = value;
  }
  return row;
}

export function toResultSet(result: z.infer<typeof StatementResult>): ResultSet {
  const columns = result.cols.map(({ name }) => name ?? '');
  return {
    columns,
    columnTypes: result.cols.map(({ decltype }) => decltype ?? ''),
    rows: result.rows.map((values) => toRow(columns, values)),
    rowsAffected: result.affected_row_count,
    lastInsertRowid: result.last_insert_rowid ? BigInt(result.last_insert_rowid) : undefined,
    toJSON: () => ({ columns, rows: result.rows }),
  };
}
