import { describe, expect, it } from 'vitest';
import { readControl } from '#protocol/api/instance-exec.ts';

describe('readControl', () => {
  it('reads a resize with the sizes as strings, as lxc sends them', () => {
    expect(readControl('{"command":"window-resize","args":{"width":"120","height":"40"}}')).toEqual({
      type: 'resize',
      width: 120,
      height: 40,
    });
  });

  it('reads a signal from a binary frame, as lxd-ui sends it', () => {
    const bytes = Uint8Array.from(Buffer.from('{"command":"signal","signal":15,"args":null}'));
    expect(readControl(bytes.buffer)).toEqual({ type: 'signal', signal: 15 });
  });

  it.each(['', 'x', '[]', '{"command":"dance"}', '{"command":"signal","signal":65}', '{"command":"window-resize"}'])(
    'ignores %j',
    (message) => {
      expect(readControl(message)).toBeNull();
    },
  );
});
