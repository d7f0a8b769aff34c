/**
 * lxc-attach puts a second terminal inside the first, and both turn `\n` into `\r\n`: lines end in `\r\r\n`. This makes
 * them `\r\n` again, also where chunks end in between. Pure but for the state between chunks.
 */
const CR = 13;
const LF = 10;

export interface CarriageReturnFilter {
  push(bytes: Uint8Array): Uint8Array;
  /** What was held back at the end of the output. */
  flush(): Uint8Array;
}

/** A lone `\r` at the end of a chunk goes out at once (progress bars end so); only a second one in a row is held back. */
export function createCarriageReturnFilter(): CarriageReturnFilter {
  let sentCr = false;
  let held = false;
  return {
    push: (bytes) => {
      const output = new Uint8Array(bytes.length + 1);
      let length = 0;
      for (const byte of bytes) {
        if (held) {
          held = false;
          // Held is a CR after a sent CR: with LF it is the doubled one.
          if (byte !== LF) output[length++] = CR;
        }
        if (byte === CR && sentCr) {
          held = true;
          continue;
        }
        output[length++] = byte;
        sentCr = byte === CR;
      }
      return output.subarray(0, length);
    },
    flush: () => {
      const rest = held ? Uint8Array.of(CR) : new Uint8Array();
      held = false;
      return rest;
    },
  };
}
