/** The control socket of exec and console (lxd-api 7.2): JSON in text frames, from some clients in binary ones. Pure. */
import { z } from 'zod';
import type { ControlStreamFrame } from '#protocol/stream.ts';

const Size = z.coerce.number().int().min(0).max(65_535);

const Control = z.discriminatedUnion('command', [
  z.object({ command: z.literal('window-resize'), args: z.object({ width: Size, height: Size }) }),
  z.object({ command: z.literal('signal'), signal: z.number().int().min(1).max(64) }),
]);

/** Null for commands we do not know: LXD ignores them. */
export function readControl(message: string | ArrayBuffer): ControlStreamFrame | null {
  try {
    const text = typeof message === 'string' ? message : new TextDecoder().decode(message);
    const control = Control.parse(JSON.parse(text));
    if (control.command === 'signal') return { type: 'signal', signal: control.signal };
    return { type: 'resize', width: control.args.width, height: control.args.height };
  } catch {
    return null;
  }
}
