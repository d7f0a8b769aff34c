/**
 * What a form of the login pages is bound to. Each carries a sealed text that says which step it is and until when, which only
 * opens with the cookie of the browser that it was made for: another site can neither make one nor send one in its name.
 */
import { z } from 'zod';
import { shiftIso } from '#worker/lib/clock.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import type { Sealer } from '#worker/lib/seal.ts';

/** Long enough to look for a password. */
const FORM_MS = 10 * 60_000;
/** `__Host-`: no other host, and nothing without TLS, can set it. */
const COOKIE = '__Host-longshore-login';

const Step = z.discriminatedUnion('step', [
  z.object({ step: z.literal('login'), until: z.string() }),
  z.object({ step: z.literal('decide'), until: z.string(), userName: z.string(), userCode: z.string() }),
]);
export type Step = z.infer<typeof Step>;
type NewStep = { step: 'login' } | { step: 'decide'; userName: string; userCode: string };

/** The cookie of this browser, or a new one to be set with the answer. */
export function browserOf(request: Request): { id: string; isNew: boolean } {
  const cookies = (request.headers.get('cookie') ?? '').split(/;\s*/);
  const known = cookies.find((cookie) => cookie.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1);
  return known !== undefined && /^[\w-]{36}$/.test(known)
    ? { id: known, isNew: false }
    : { id: crypto.randomUUID(), isNew: true };
}

/** The header that makes the browser remember. */
export const rememberBrowser = (id: string): Record<string, string> => ({
  'set-cookie': `${COOKIE}=${id}; Path=/; Secure; HttpOnly; SameSite=Strict`,
});

const about = async (browser: string) => `login form ${await sha256Hex(browser)}`;

export const sealStep = async (sealer: Sealer, browser: string, now: string, step: NewStep): Promise<string> =>
  sealer.seal(JSON.stringify({ ...step, until: shiftIso(now, FORM_MS) }), await about(browser));

/** Null for a form that was not made here for this browser, or too long ago. */
export async function openStep(sealer: Sealer, browser: string, now: string, form: string): Promise<Step | null> {
  try {
    const step = Step.parse(JSON.parse(await sealer.open(form, await about(browser))));
    return step.until > now ? step : null;
  } catch {
    return null;
  }
}
