/**
 * The agent's proof of identity: an Ed25519 signature over the server's nonce, and an epoch that no other process of the
 * same key can hold. Pure but for WebCrypto.
 */
import { AppError, forbidden } from '#protocol/errors.ts';
import { type AgentFrame, helloPayload } from '#protocol/frames.ts';
import { PROTOCOL_MINIMUM } from '#protocol/version.ts';
import { verifyEd25519 } from '#worker/lib/ed25519.ts';

export type Hello = Extract<AgentFrame, { type: 'hello' }>;

/** What libSQL knows of the member that says hello. */
export interface KnownMember {
  name: string;
  publicKey: string;
  epoch: number;
  processId: string;
}

/** `blocked`: it is who it says, but speaks a protocol too old to be given work. */
export type Verdict = { ok: true; blocked: boolean } | { ok: false; error: AppError; retry: boolean; stale: boolean };

const refuse = (error: AppError, retry: boolean, stale = false): Verdict => ({ ok: false, error, retry, stale });

/**
 * Accepts the hello of the member that `expected` names. An epoch below the newest one seen, or the same epoch from another
 * process, is a second machine with the same disk: refused, and `stale` asks the caller to record it.
 */
export async function judgeHello(
  hello: Hello,
  expected: { member: string; nonce: string },
  known: KnownMember | undefined,
): Promise<Verdict> {
  if (hello.member !== expected.member) return refuse(forbidden('The hello names another member'), false);
  if (known === undefined) {
    return refuse(forbidden(`"${hello.member}" is not a member of this cluster: join it with a new token`), false);
  }
  if (!(await verifyEd25519(known.publicKey, hello.signature, helloPayload({ ...hello, nonce: expected.nonce })))) {
    return refuse(forbidden('The signature does not fit the member’s key'), false);
  }
  if (hello.epoch < known.epoch || (hello.epoch === known.epoch && hello.processId !== known.processId)) {
    return refuse(
      new AppError('conflict', `Another agent with the identity of "${hello.member}" has a newer epoch (cloned disk?)`),
      false,
      true,
    );
  }
  return { ok: true, blocked: hello.protocol < PROTOCOL_MINIMUM };
}
