/**
 * Questions in plain text, as LXD's programs ask them: one line each, from a terminal or a pipe. The terminal's own line
 * editing does the rest; only a password is read key by key, so that it is not shown.
 */
import type { ReadStream } from 'node:tty';
import { failed } from '#protocol/errors.ts';

/** Null: good. Else why not. */
type Check = (answer: string) => string | null;

export interface Terminal {
  /** Asks until `check` is content; an empty answer means `fallback`, if there is one. Throws when the input ends. */
  askString(question: string, fallback?: string, check?: Check): Promise<string>;
  askBool(question: string, fallback: boolean): Promise<boolean>;
  askChoice(question: string, choices: readonly string[], fallback: string): Promise<string>;
  /** Not echoed. */
  askPassword(question: string): Promise<string>;
  /** Not echoed, asked for twice; may be empty. */
  askNewPassword(question: string): Promise<string>;
  print(line: string): void;
  close(): void;
}

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

/** Reads from `input`. Nothing is read before the first question. */
export function openTerminal(
  input: NodeJS.ReadableStream & Partial<Pick<ReadStream, 'isTTY' | 'setRawMode'>>,
  output: NodeJS.WritableStream,
): Terminal {
  let buffered = '';
  let ended = false;
  let wake: (() => void) | null = null;
  let listening = false;
  const onData = (chunk: Buffer | string) => {
    buffered += String(chunk);
    wake?.();
  };
  const onEnd = () => {
    ended = true;
    wake?.();
  };
  const more = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
      if (!listening) {
        input.on('data', onData);
        input.once('end', onEnd);
        listening = true;
      }
      input.resume();
    });

  async function readLine(): Promise<string> {
    for (;;) {
      const match = /\r\n|\n|\r/.exec(buffered);
      if (match !== null) {
        const line = buffered.slice(0, match.index);
        buffered = buffered.slice(match.index + match[0].length);
        return line;
      }
      if (ended) {
        const rest = buffered;
        buffered = '';
        if (rest !== '') return rest;
        throw failed('The input ended before all questions were answered');
      }
      await more();
    }
  }

  async function readHidden(question: string): Promise<string> {
    if (input.isTTY !== true || input.setRawMode === undefined) {
      output.write(question);
      return readLine();
    }
    // Ahead of the question: what is typed at once must not be shown either.
    input.setRawMode(true);
    output.write(question);
    try {
      let text = '';
      for (;;) {
        while (buffered !== '') {
          const [key = ''] = buffered;
          buffered = buffered.slice(key.length);
          if (key === '\r' || key === '\n') return text;
          if (key === CTRL_C || key === CTRL_D) throw failed('User aborted configuration');
          text = key === '\u007f' || key === '\b' ? text.slice(0, -1) : text + key;
        }
        if (ended) return text;
        await more();
      }
    } finally {
      input.setRawMode(false);
      output.write('\n');
    }
  }

  const invalid = (why?: string) =>
    output.write(why === undefined ? 'Invalid input, try again.\n\n' : `Invalid input: ${why}\n\n`);

  const terminal: Terminal = {
    async askString(question, fallback, check) {
      for (;;) {
        output.write(question);
        const answer = (await readLine()).trim() || (fallback ?? '');
        const refusal = check === undefined ? null : check(answer);
        if (refusal !== null) invalid(refusal);
        else if (answer === '' && check === undefined) invalid();
        else return answer;
      }
    },
    async askBool(question, fallback) {
      for (;;) {
        output.write(question);
        const answer = (await readLine()).trim().toLowerCase() || (fallback ? 'yes' : 'no');
        if (answer === 'yes' || answer === 'y') return true;
        if (answer === 'no' || answer === 'n') return false;
        invalid();
      }
    },
    async askChoice(question, choices, fallback) {
      for (;;) {
        output.write(question);
        const answer = (await readLine()).trim() || fallback;
        if (choices.includes(answer)) return answer;
        invalid();
      }
    },
    askPassword: readHidden,
    async askNewPassword(question) {
      for (;;) {
        const first = await terminal.askPassword(question);
        if ((await terminal.askPassword('Again: ')) === first) return first;
        invalid();
      }
    },
    print: (line) => void output.write(`${line}\n`),
    close: () => {
      input.off('data', onData);
      input.pause();
    },
  };
  return terminal;
}
