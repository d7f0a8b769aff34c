/** Reads a stream of chunks in the portions a parser wants. */
export interface ByteReader {
  /** Exactly `count` bytes; null when the stream has ended before the first, an error when it ends within. */
  exactly(count: number): Promise<Buffer | null>;
  /** Between one and `most` bytes, as they come, without copying; null at the end. */
  some(most: number): Promise<Buffer | null>;
}

/** A reader over `source`. Memory is bounded by the largest `exactly` and one chunk. */
export function createByteReader(source: AsyncIterator<Buffer>): ByteReader {
  let rest: Buffer = Buffer.alloc(0);

  async function some(most: number): Promise<Buffer | null> {
    while (rest.length === 0) {
      const next = await source.next();
      if (next.done) return null;
      rest = next.value;
    }
    const taken = rest.subarray(0, most);
    rest = rest.subarray(taken.length);
    return taken;
  }

  return {
    some,
    async exactly(count) {
      const first = await some(count);
      if (first === null || first.length === count) return first;
      const parts = [first];
      let missing = count - first.length;
      while (missing > 0) {
        const part = await some(missing);
        if (part === null) throw new Error('unexpected end of data');
        parts.push(part);
        missing -= part.length;
      }
      return Buffer.concat(parts, count);
    },
  };
}
