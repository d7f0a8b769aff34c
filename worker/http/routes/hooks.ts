/** `POST /hooks/<id>`: where senders deliver. The signature is the authorisation. */
import { AppError, ERROR_STATUS, type ErrorCode } from '#protocol/errors.ts';
import { createSealer } from '#worker/lib/seal.ts';
import { receiveDelivery } from '#worker/services/trigger-receive.ts';
import type { Reception } from '#worker/services/trigger-reception.ts';
import { readBytes } from '../body.ts';
import { async_, failure, sync } from '../envelope.ts';
import { type App, route } from '../route.ts';

/** GitHub's largest payloads of the events that matter are a tenth of this. */
const DELIVERY_LIMIT_BYTES = 1024 * 1024;

const CODES: readonly ErrorCode[] = [
  'bad_request',
  'unauthorized',
  'forbidden',
  'conflict',
  'too_large',
  'unprocessable',
  'too_many',
  'unavailable',
];

export function hookRoutes(app: App): void {
  route(
    app,
    {
      method: 'post',
      path: '/hooks/:id',
      summary: 'Deliver a signed webhook to a trigger',
      tag: 'triggers',
      reads: { 'application/json': 'The payload, whose signature is in the headers' },
      answer: 'async',
      access: 'secret',
    },
    async ({ ctx, env, params, request }) => {
      const body = await readBytes(request, DELIVERY_LIMIT_BYTES);
      const sealer = createSealer(env);
      return answer(await receiveDelivery({ ...ctx, sealer }, { id: params.id, headers: request.headers, body }));
    },
  );
}

/** An accepted delivery carries its operation; one that starts nothing says why. */
function answer({ outcome, status, reason, instanceName, operation, retryAfterSeconds }: Reception): Response {
  if (outcome === 'refused') {
    const code = CODES.find((candidate) => ERROR_STATUS[candidate] === status) ?? 'bad_request';
    const headers = retryAfterSeconds === 0 ? undefined : { 'retry-after': String(retryAfterSeconds) };
    return failure(new AppError(code, reason), headers);
  }
  return operation === null ? sync({ outcome, reason, instance: instanceName }) : async_(operation);
}
