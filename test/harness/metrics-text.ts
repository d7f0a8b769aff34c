/** Prometheus's text format, read strictly: what a scraper would stumble over throws here. */

export interface Series {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Scrape {
  types: Map<string, string>;
  series: Series[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(,|$)/y;

/** Every metric has its help and type once and before its samples, which stand together; no series comes twice. */
export function parseMetrics(text: string): Scrape {
  const lines = text.split('\n');
  if (lines.pop() !== '') throw new Error('The last line does not end');
  if (lines.pop() !== '# EOF') throw new Error('The last line is not # EOF');
  const helps = new Set<string>();
  const types = new Map<string, string>();
  const seen = new Set<string>();
  const series: Series[] = [];
  let current = '';
  for (const line of lines) {
    const [, keyword, name, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === 'HELP' && name !== undefined) {
      if (helps.has(name) || !NAME.test(name)) throw new Error(`Second or bad help: ${line}`);
      helps.add(name);
      current = name;
    } else if (keyword === 'TYPE' && name !== undefined && rest !== undefined) {
      if (types.has(name) || name !== current) throw new Error(`Misplaced type: ${line}`);
      if (!['counter', 'gauge', 'histogram'].includes(rest)) throw new Error(`Unknown type: ${line}`);
      types.set(name, rest);
    } else {
      const one = parseSample(line);
      if (familyOf(one.name, types) !== current) throw new Error(`Sample outside of its metric: ${line}`);
      const key = `${one.name}${JSON.stringify(Object.entries(one.labels).sort())}`;
      if (seen.has(key)) throw new Error(`Twice: ${line}`);
      seen.add(key);
      series.push(one);
    }
  }
  return { types, series };
}

function familyOf(name: string, types: ReadonlyMap<string, string>): string {
  const base = name.replace(/_(bucket|sum|count)$/, '');
  return types.get(base) === 'histogram' ? base : name;
}

function parseSample(line: string): Series {
  const [, name, labelText = '', valueText] = SAMPLE.exec(line) ?? [];
  if (name === undefined || valueText === undefined) throw new Error(`Not a sample: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < labelText.length) {
    const [, label, escaped] = LABEL.exec(labelText) ?? [];
    if (label === undefined || escaped === undefined || label in labels) throw new Error(`Bad labels: ${line}`);
    labels[label] = escaped.replace(/\\(["\\n])/g, (_, char: string) => (char === 'n' ? '\n' : char));
  }
  const value = valueText === '+Inf' ? Number.POSITIVE_INFINITY : Number(valueText);
  if (Number.isNaN(value)) throw new Error(`Not a number: ${line}`);
  return { name, labels, value };
}
