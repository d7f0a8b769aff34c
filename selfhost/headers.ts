/** Headers on their way through a proxy. Raw lists (name, value, name, value…) keep order, case and repetition. */

/** Headers that describe one connection, not the message (RFC 9110, 7.6.1), or that the proxy answers itself. */
const OWN_TO_THE_CONNECTION = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What passes on. `dropped` names one more header, lower-case. */
export function passingHeaders(raw: readonly string[], dropped?: string): string[] {
  const passing: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const lower = name.toLowerCase();
    if (OWN_TO_THE_CONNECTION.has(lower) || lower === dropped) continue;
    passing.push(name, raw[i + 1] ?? '');
  }
  return passing;
}

/** The head of a message as it stands on the wire. */
export function renderHead(first: string, raw: readonly string[]): string {
  let head = `${first}\r\n`;
  for (let i = 0; i + 1 < raw.length; i += 2) head += `${raw[i]}: ${raw[i + 1]}\r\n`;
  return `${head}\r\n`;
}
