/** Loaded before a program (`NODE_OPTIONS=--import`): its clock is LONGSHORE_CLOCK_SHIFT_MS ahead, or behind when negative. */
const shiftMs = Number(process.env.LONGSHORE_CLOCK_SHIFT_MS ?? 0);
const RealDate = Date;

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...args);
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};
