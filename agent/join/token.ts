/** Join and bootstrap tokens as people paste them. */
import { badRequest } from '#protocol/errors.ts';
import { JoinToken } from '#protocol/join.ts';
import { checkMemberName } from '#protocol/names.ts';

/**
 * Decodes and checks; throws `bad_request` with the reason. Pure. Whether it has expired is the control plane's to judge:
 * this host's clock may be wrong.
 */
export function parseJoinToken(text: string): JoinToken {
  const token = parseAnyToken(text);
  const refusal = checkMemberName(token.server_name);
  if (refusal !== null) throw badRequest(`Invalid join token: ${refusal}`);
  return token;
}

/** As `parseJoinToken`, but takes a bootstrap token as well: one that names no server. */
export function parseAnyToken(text: string): JoinToken {
  let input: unknown;
  try {
    input = JSON.parse(Buffer.from(text.trim(), 'base64').toString('utf8'));
  } catch (cause) {
    throw badRequest('Invalid join token: it is not complete', cause);
  }
  const parsed = JoinToken.safeParse(input);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw badRequest(`Invalid join token: ${issue?.path.join('.')}: ${issue?.message}`, parsed.error);
  }
  const token = parsed.data;
  if (!/^[0-9a-f]{64}$/i.test(token.fingerprint)) throw badRequest('Invalid join token: fingerprint');
  return { ...token, fingerprint: token.fingerprint.toLowerCase() };
}

/** The right to be the first member, for whatever name. */
export const isBootstrapToken = (token: JoinToken): boolean => token.server_name === '';
