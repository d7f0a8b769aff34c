/**
 * Regular expressions for filters, matched in time linear in the text whatever the pattern: patterns come from callers, and
 * the engine of JavaScript can be made to backtrack for years. The syntax is the part of Go's that list filters use:
 * literals, `.`, classes, `\d \w \s`, groups, `|`, `* + ? {n,m}`, `^`, `$`. Case is ignored unless asked for.
 */

type Test = (char: string) => boolean;
type Node =
  | { kind: 'char'; test: Test }
  | { kind: 'start' }
  | { kind: 'end' }
  | { kind: 'sequence'; parts: Node[] }
  | { kind: 'choice'; options: Node[] }
  | { kind: 'repeat'; node: Node; low: number; high: number };

type Instruction =
  | { op: 'char'; test: Test }
  | { op: 'jump'; to: number[] }
  | { op: 'start' }
  | { op: 'end' }
  | { op: 'match' };

/** Larger programs are refused: nobody types them. Bounds a match at this many steps per character. */
const PROGRAM_LIMIT = 256;
const REPEAT_LIMIT = 100;

class Unsupported extends Error {}

const CLASSES: Record<string, Test> = {
  d: (char) => /[0-9]/.test(char),
  w: (char) => /[0-9A-Za-z_]/.test(char),
  s: (char) => /\s/.test(char),
};

const literal = (wanted: string, matchCase: boolean): Test => {
  const same = matchCase ? wanted : wanted.toLowerCase();
  return (char) => char === same;
};

/** Recursive descent over one pattern; throws `Unsupported` for anything outside the subset. */
function parse(pattern: string, matchCase: boolean): Node {
  let at = 0;
  const peek = () => pattern[at];
  const fail = (): never => {
    throw new Unsupported();
  };

  function escaped(): Test {
    const char = pattern[at++] ?? fail();
    const named = CLASSES[char.toLowerCase()];
    if (named) return char === char.toLowerCase() ? named : (c) => !named(c);
    return /[A-Za-z0-9]/.test(char) ? fail() : literal(char, matchCase);
  }

  function charClass(): Test {
    const negated = peek() === '^';
    if (negated) at++;
    const tests: Test[] = [];
    while (peek() !== ']' || tests.length === 0) {
      const char = pattern[at++] ?? fail();
      if (char === '[' && peek() === ':') fail();
      if (char === '\\') tests.push(escaped());
      else if (peek() === '-' && pattern[at + 1] !== ']' && pattern[at + 1] !== undefined) {
        const high = pattern[at + 1] ?? fail();
        if (high === '\\' || high < char) fail();
        at += 2;
        const inside = (c: string) => c >= char && c <= high;
        tests.push((c) => inside(c) || (!matchCase && inside(c.toUpperCase())));
      } else tests.push(literal(char, matchCase));
    }
    at++;
    return (char) => tests.some((test) => test(char)) !== negated;
  }

  function atom(): Node {
    const char = pattern[at++] ?? fail();
    if (char === '^') return { kind: 'start' };
    if (char === '$') return { kind: 'end' };
    if (char === '.') return { kind: 'char', test: (c) => c !== '\n' };
    if (char === '[') return { kind: 'char', test: charClass() };
    if (char === '\\') return { kind: 'char', test: escaped() };
    if ('*+?{)'.includes(char)) return fail();
    if (char !== '(') return { kind: 'char', test: literal(char, matchCase) };
    if (peek() === '?') {
      if (pattern.slice(at, at + 2) !== '?:') fail();
      at += 2;
    }
    const inner = choice();
    if (pattern[at++] !== ')') fail();
    return inner;
  }

  function bounds(): { low: number; high: number } | null {
    const char = peek();
    const simple = { '*': [0, Infinity], '+': [1, Infinity], '?': [0, 1] }[char ?? ''];
    if (simple) {
      at++;
      return { low: simple[0] ?? 0, high: simple[1] ?? 0 };
    }
    if (char !== '{') return null;
    const braces = /^\{(\d{1,3})(,(\d{1,3})?)?\}/.exec(pattern.slice(at)) ?? fail();
    at += braces[0].length;
    const low = Number(braces[1]);
    const high = braces[2] === undefined ? low : braces[3] === undefined ? Infinity : Number(braces[3]);
    if (low > REPEAT_LIMIT || high < low || (high !== Infinity && high > REPEAT_LIMIT)) fail();
    return { low, high };
  }

  function sequence(): Node {
    const parts: Node[] = [];
    while (at < pattern.length && peek() !== '|' && peek() !== ')') {
      const node = atom();
      const range = bounds();
      if (range && peek() === '?') at++; // Lazy: the same for a yes or no.
      parts.push(range ? { kind: 'repeat', node, ...range } : node);
    }
    return { kind: 'sequence', parts };
  }

  function choice(): Node {
    const options = [sequence()];
    while (peek() === '|') {
      at++;
      options.push(sequence());
    }
    return { kind: 'choice', options };
  }

  const node = choice();
  return at === pattern.length ? node : fail();
}

/** Appends the instructions for a node; control falls through to the next instruction. */
function emit(program: Instruction[], node: Node): void {
  if (program.length > PROGRAM_LIMIT) throw new Unsupported();
  switch (node.kind) {
    case 'char':
      program.push({ op: 'char', test: node.test });
      return;
    case 'start':
    case 'end':
      program.push({ op: node.kind });
      return;
    case 'sequence':
      for (const part of node.parts) emit(program, part);
      return;
    case 'choice': {
      const fork: Instruction & { op: 'jump' } = { op: 'jump', to: [] };
      const exits: (Instruction & { op: 'jump' })[] = [];
      program.push(fork);
      for (const option of node.options) {
        fork.to.push(program.length);
        emit(program, option);
        const exit: Instruction & { op: 'jump' } = { op: 'jump', to: [] };
        exits.push(exit);
        program.push(exit);
      }
      for (const exit of exits) exit.to.push(program.length);
      return;
    }
    case 'repeat': {
      for (let i = 0; i < node.low; i++) emit(program, node.node);
      if (node.high === Infinity) {
        const fork: Instruction & { op: 'jump' } = { op: 'jump', to: [program.length + 1] };
        const start = program.push(fork) - 1;
        emit(program, node.node);
        program.push({ op: 'jump', to: [start] });
        fork.to.push(program.length);
        return;
      }
      const forks: (Instruction & { op: 'jump' })[] = [];
      for (let i = node.low; i < node.high; i++) {
        const fork: Instruction & { op: 'jump' } = { op: 'jump', to: [program.length + 1] };
        forks.push(fork);
        program.push(fork);
        emit(program, node.node);
      }
      for (const fork of forks) fork.to.push(program.length);
      return;
    }
  }
}

/** Where a match may be before one character: the instructions seen there, and those of them that read a character. */
interface Position {
  seen: Set<number>;
  readers: number[];
}

const newPosition = (): Position => ({ seen: new Set(), readers: [] });

/** Follows jumps and assertions from `pc`, each instruction once per position; true when the program's end is reached. */
function follow(program: readonly Instruction[], pc: number, position: Position, atStart: boolean, atEnd: boolean) {
  const stack = [pc];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (position.seen.has(next)) continue;
    position.seen.add(next);
    const instruction = program[next];
    if (instruction?.op === 'match') return true;
    if (instruction?.op === 'char') position.readers.push(next);
    else if (instruction?.op === 'jump') stack.push(...instruction.to);
    else if (instruction?.op === 'start' ? atStart : atEnd) stack.push(next + 1);
  }
  return false;
}

/**
 * Compiles a pattern to a test of whether it occurs in a text. Null for a pattern outside the subset: the caller then
 * compares as text.
 */
export function compileLinear(
  pattern: string,
  { matchCase = false }: { matchCase?: boolean } = {},
): ((text: string) => boolean) | null {
  const program: Instruction[] = [];
  try {
    emit(program, parse(pattern, matchCase));
  } catch (error) {
    if (error instanceof Unsupported) return null;
    throw error;
  }
  program.push({ op: 'match' });
  return (text) => {
    const chars = matchCase ? text : text.toLowerCase();
    let current = newPosition();
    for (let at = 0; at <= chars.length; at++) {
      if (follow(program, 0, current, at === 0, at === chars.length)) return true;
      const char = chars[at];
      if (char === undefined) return false;
      const following = newPosition();
      for (const pc of current.readers) {
        const instruction = program[pc];
        if (instruction?.op !== 'char' || !instruction.test(char)) continue;
        if (follow(program, pc + 1, following, false, at + 1 === chars.length)) return true;
      }
      current = following;
    }
    return false;
  };
}
