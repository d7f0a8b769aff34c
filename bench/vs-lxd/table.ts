/** The result as a person reads it. Pure. */
import { median, medianRatio, meetsTarget, type Row, type Unit } from './pairs.ts';

/** A measure that was not to be had, and why. */
export interface FailedRow {
  name: string;
  failure: string;
}

const HEAD = ['MEASURE', 'LXD', 'LONGSHORE', 'RATIO', 'TARGET', '', 'FLOOR'];
const LEFT = new Set([0, 5]);

/** One line per measure: medians, the median ratio Longshore/LXD, whether it is as asked, and the floor's median. */
export function formatTable(rows: readonly (Row | FailedRow)[]): string {
  const lines = [HEAD, ...rows.map(cellsOf)];
  const widths = HEAD.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) => formatLine(line, widths)).join('\n');
}

function formatLine(cells: readonly string[], widths: readonly number[]): string {
  const padded = widths.map((width, column) => {
    const cell = cells[column] ?? '';
    return LEFT.has(column) ? cell.padEnd(width) : cell.padStart(width);
  });
  return padded.join('  ').trimEnd();
}

function cellsOf(row: Row | FailedRow): string[] {
  if ('failure' in row) return [row.name, '-', '-', '-', '-', 'FAILED', '-'];
  const [lxd, longshore] = row.values;
  return [
    row.name,
    formatValue(median(lxd), row.unit),
    formatValue(median(longshore), row.unit),
    medianRatio(row).toFixed(2),
    `${row.unit === 'ms' ? '≤' : '≥'} ${row.target.toFixed(1)}`,
    meetsTarget(row) ? 'ok' : 'MISSED',
    row.floor.length === 0 ? '-' : formatValue(median(row.floor), row.unit),
  ];
}

/** Two significant digits or whole numbers: more would be noise. */
function formatValue(value: number, unit: Unit): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
